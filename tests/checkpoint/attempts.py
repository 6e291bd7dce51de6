"""Attempts at training a stage, killed for real: a program that forks them, and the way to start it.

Every attempt is a process of its own (or one for each rank) that runs the trainer's own main function; forks
share one import of torch, which is most of what starting a trainer costs. A kill is SIGKILL: at a named point
of a save, or some seconds after the attempt was started.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onerec.train.loop  # noqa: F401 - the forks need it
from onerec.__main__ import main as run_program
from onerec.checkpoint import crash_points
from tests import tiny

PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Kill:
    """When an attempt is killed."""

    point: str | None = None
    """A crash point of rank 0, which is killed alone: its launcher is not there to end the others."""
    step: int = 0
    """The checkpoint that is being saved there."""
    seconds: float | None = None
    """Seconds after the start; all ranks at once."""


@dataclass(frozen=True)
class Attempt:
    """One start of the trainer."""

    config: dict[str, Any]
    ranks: int = 1
    kill: Kill | None = None


def take(stories: dict[str, list[Attempt]], folder: Path) -> dict[str, list[list[int]]]:
    """Make the attempts of each story in order; the exit codes of the ranks of each (-n for signal n).

    Stories end early with an attempt that fails by itself: whose rank 0 ends otherwise than with 0 or its
    kill, or any of whose ranks fails although nobody was to be killed.
    """
    told = {name: [asdict(attempt) for attempt in attempts] for name, attempts in stories.items()}
    (folder / "stories.json").write_text(json.dumps(told))
    done = subprocess.run(
        [sys.executable, "-m", "tests.checkpoint.attempts", str(folder / "stories.json")],
        capture_output=True,
        text=True,
        check=False,
        env=tiny.environment() | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        timeout=900,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    codes: dict[str, list[list[int]]] = json.loads((folder / "codes.json").read_text())
    return codes


def main(path: Path) -> None:
    """Live through all stories of a file."""
    codes = {}
    for name, attempts in json.loads(path.read_text()).items():
        codes[name] = []
        for number, told in enumerate(attempts, start=1):
            kill = Kill(**told["kill"]) if told["kill"] else None
            codes[name].append(_attempt(told["config"], told["ranks"], kill, number=number))
            # a peer may fail for a rank that was killed; rank 0 has nobody to fail for
            if codes[name][-1][0] not in {0, -signal.SIGKILL} or (kill is None and any(codes[name][-1])):
                break
    (path.parent / "codes.json").write_text(json.dumps(codes))


def _attempt(config: dict[str, Any], ranks: int, kill: Kill | None, *, number: int) -> list[int]:
    output_dir = Path(config["output_dir"])
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / "config.json").write_text(json.dumps(config))
    fork = multiprocessing.get_context("fork")
    started = [
        fork.Process(target=_rank, args=(rank, ranks, output_dir, kill, number)) for rank in range(ranks)
    ]
    began = time.monotonic()
    for process in started:
        process.start()
    while any(process.is_alive() for process in started):
        waited = time.monotonic() - began
        is_due = kill is not None and kill.seconds is not None and waited >= kill.seconds
        has_fallen = any(process.exitcode not in {0, None} for process in started)
        if is_due or has_fallen or waited > PATIENCE_SECONDS:  # as a launcher ends the ranks that are left
            for process in started:
                process.kill()
        started[0].join(timeout=0.01)
    return [int(process.exitcode or 0) for process in started]


def _rank(rank: int, ranks: int, output_dir: Path, kill: Kill | None, number: int) -> None:
    """One rank's life, as mpirun would start it."""
    os.setsid()
    log = os.open(output_dir / f"attempt-{number}-rank-{rank}.log", os.O_WRONLY | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    told = {"RANK": rank, "SIZE": ranks, "LOCAL_RANK": rank, "LOCAL_SIZE": ranks}
    os.environ.update({f"OMPI_COMM_WORLD_{name}": str(value) for name, value in told.items()})
    os.environ["RUNNER_RENDEZVOUS"] = str(output_dir / f"rendezvous-{number}.json")
    os.environ["RUNNER_ATTEMPT"] = str(number)
    if kill is not None and kill.point is not None:
        crash_points.observers.append(lambda point, step: _die(kill, point, step))
    code = run_program([str(output_dir / "config.json")])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _die(kill: Kill, point: str, step: int) -> None:
    if (point, step) == (kill.point, kill.step):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
