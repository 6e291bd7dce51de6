"""C16: a stage killed with SIGKILL twice and resumed each time, against the same stage never stopped.

The tiny programme of the tests, 24 steps with a checkpoint after every eighth. All processes of an attempt
are killed when steps after its newest checkpoint are already taken, so that these are taken twice. Once every
attempt has one rank; once the second has two ranks under torchrun. Steps must be of the same batches (their
tokens, trained tokens and samples), or the row is void.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from onerec.checkpoint import commit
from tests import tiny
from tests.benchmarks.environment import Bench
from tests.benchmarks.harness import Figure, Line, Lines, Void, at_most, benchmark

TITLE = "a stage killed twice and resumed, against one never stopped"
EVERY, STEPS = 8, 24
PACKS_PER_STEP = 4
SAME_WORLD, OTHER_WORLD = (1, 1, 1), (1, 2, 1)
"""Ranks of each attempt."""
LOST_STEPS = 2
"""Steps after the checkpoint that an attempt has told before it is killed."""
PATIENCE_SECONDS = 240
POLL_SECONDS = 0.002
BATCH = ("step", "tokens", "trained_tokens", "samples", "epoch", "learning_rate")


@benchmark("C16", TITLE, needs_peers=False)
def kill(bench: Bench) -> Lines:
    """The largest differences of several kills, each at another moment."""
    same, other = [], []
    with tempfile.TemporaryDirectory() as scratch:
        with _silence():
            folder = tiny.make(Path(scratch) / "programme")
        whole = _config(folder, Path(scratch) / "whole")
        bench.tell("  never stopped")
        tiny.run(whole)
        for number in range(bench.times(3)):
            for worlds, found in ((SAME_WORLD, same), (OTHER_WORLD, other)):
                bench.tell(f"  killed after {' and '.join(map(str, worlds[:-1]))} ranks")
                killed = _config(folder, Path(scratch) / f"{number}-{max(worlds)}")
                _run_with_kills(killed, worlds)
                found.append(_differences(killed, whole, folder))
    yield _line(
        "killed twice and resumed, same world: weights that differ", same, "weights", unit="weights", bound=0
    )
    yield _line(
        "killed twice and resumed, same world: largest relative difference of losses",
        same,
        "loss",
        unit="",
        bound=0,
    )
    yield _line(
        "killed twice, resumed on 1, 2, 1 ranks: largest relative difference of losses",
        other,
        "loss",
        unit="",
        bound=1e-5,
    )
    yield _line(
        "killed twice, resumed on 1, 2, 1 ranks: largest difference of a weight", other, "weight", unit=""
    )


def _line(
    what: str, found: Sequence[dict[str, float]], key: str, *, unit: str, bound: float | None = None
) -> Line:
    worst = Figure("ours", (max(one[key] for one in found),), unit)
    return Line(what, worst, goal=None if bound is None else at_most(bound, unit))


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Standard output is the table's."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def _config(folder: Path, output_dir: Path) -> dict[str, Any]:
    return tiny.train_config(
        folder,
        output_dir,
        data={"num_epochs": 4},
        optim={"learning_rate": 0.01, "num_warmup_steps": 2, "num_training_steps": STEPS},
        checkpoint={"save_checkpoint_per_step": EVERY},
        duration={"packs_per_step": PACKS_PER_STEP, "max_steps": STEPS},
    )


def _run_with_kills(config: dict[str, Any], worlds: Sequence[int]) -> None:
    """All attempts but the last are killed after the next checkpoint."""
    *killed, last = worlds
    for attempt, ranks in enumerate(killed, start=1):
        _kill_after(config, step=attempt * EVERY, ranks=ranks)
        there = commit.complete_steps(Path(config["output_dir"]))[-1]
        if there != attempt * EVERY:
            raise Void(f"the newest checkpoint after kill {attempt} is of step {there}")
    done = tiny.run(config, ranks=last)
    if f"goes on after step {len(killed) * EVERY}" not in done.stdout:
        raise Void(f"the last attempt did not go on after step {len(killed) * EVERY}")


def _kill_after(config: dict[str, Any], *, step: int, ranks: int) -> None:
    """Start an attempt, and kill it once the checkpoint of `step` is there and steps after it are told."""
    output_dir = Path(config["output_dir"])
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        command = tiny.command(config, ranks=ranks)
        attempt = subprocess.Popen(command, stdout=log, stderr=log, env=tiny.environment())
        stack.callback(lambda: _kill_all(attempt))
        _wait(
            lambda: (
                _told_steps(output_dir) >= step + LOST_STEPS and step in commit.complete_steps(output_dir)
            ),
            attempt,
        )


def _wait(is_so: Callable[[], bool], attempt: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if attempt.poll() is not None or time.monotonic() > deadline:
            raise Void(f"an attempt ended by itself with {attempt.poll()}, or took too long")
        time.sleep(POLL_SECONDS)


def _told_steps(output_dir: Path) -> int:
    """The step of the newest whole line of metrics.jsonl; an attempt drops lines after its checkpoint."""
    path = output_dir / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _kill_all(attempt: subprocess.Popen) -> None:
    """SIGKILL to a process and to all that it has started, which launchers put into groups of their own."""
    family = [attempt.pid, *_descendants(attempt.pid)]
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    attempt.wait()
    _wait_for_end(family)


def _descendants(pid: int) -> Iterator[int]:
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, thread.read_text().split()):
            yield child
            yield from _descendants(child)


def _wait_for_end(family: Sequence[int]) -> None:
    """Wait until none of these processes runs: one that still wrote would spoil the next attempt."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(_is_alive(pid) for pid in family):
        if time.monotonic() > deadline:
            raise Void("killed processes do not end")
        time.sleep(POLL_SECONDS)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _differences(killed: dict[str, Any], whole: dict[str, Any], folder: Path) -> dict[str, float]:
    """Largest differences of losses and weights; raises Void for steps of other batches."""
    rows, others = tiny.metrics(killed), tiny.metrics(whole)
    batches = [[tuple(row[key] for key in BATCH) for row in made] for made in (rows, others)]
    if batches[0] != batches[1] or len(rows) != STEPS:
        raise Void(f"the steps are not of the same batches: {len(rows)} against {len(others)} rows")
    with _silence():
        ours, theirs = (
            load_file(tiny.export(config, folder) / "model.safetensors") for config in (killed, whole)
        )
    return {
        "loss": max(abs(a["loss"] - b["loss"]) / b["loss"] for a, b in zip(rows, others, strict=True)),
        "weights": float(sum(torch.count_nonzero(ours[name] != theirs[name]) for name in theirs)),
        "weight": max(float((ours[name] - theirs[name]).abs().max()) for name in theirs),
    }
