"""Run `python ARGS` as one rank and record how it ended: `python -m runner.rank --log-dir D -- ARGS`.

Standard library only, and the same under every launcher. The trainer writes straight into its log files (no
pipe, so no reader can stall it), dies when this process dies, and this process dies when its launcher dies.
What happens while it lives is in guard.py.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from onerec.slurm_task import read_task
from runner.cgroup import count_oom_kills
from runner.env_file import EnvFileError, variables_of
from runner.guard import Guard
from runner.last_words import last_words
from runner.process import die_with_parent, identify
from runner.rundir import RunDir
from runner.stop import ask_to_stop

if TYPE_CHECKING:
    from collections.abc import Mapping

PARENT_GONE, STOPPED = 71, 75
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
POLL_SECONDS = 0.1
TAIL_BYTES = 1 << 16


def read_rank(env: Mapping[str, str]) -> int:
    """This process's rank, by the innermost launcher: each may run inside an allocation of the next."""
    for name in ("RANK", "OMPI_COMM_WORLD_RANK"):
        if name in env:
            return int(env[name])
    task = read_task(env)
    return 0 if task is None else task.rank


def requests_to_save(env: Mapping[str, str]) -> frozenset[signal.Signals]:
    """What Slurm sends to every task, and sometimes to nobody else, some time before it ends the job.

    The trainer must not end by it but save; who wants an end at once has srun kill the tasks.
    """
    is_task = env.keys().isdisjoint(("RANK", "OMPI_COMM_WORLD_RANK")) and read_task(env) is not None
    return frozenset({signal.SIGTERM, signal.SIGUSR2}) if is_task else frozenset()


def main(arguments: list[str]) -> int:
    """Run `python ARGS` as this rank; returns its exit code, 128 + n when signal n ended it."""
    parent = os.getppid()
    die_with_parent()
    if os.getppid() != parent or (parent == 1 and os.environ.get("RUNNER_PID") != "1"):
        return PARENT_GONE  # an orphan already: nobody would ever stop it
    try:
        os.environ.update(variables_of(os.environ.get("RUNNER_ENV_FILE")))
    except EnvFileError as fault:
        os.write(2, f"error: {fault}\n".encode())
        return EnvFileError.exit_code
    _, log_dir, _, *trainer = arguments
    return Rank(Path(log_dir), rank=read_rank(os.environ)).run(trainer)


class Rank:
    """One rank: its log files, its trainer and the two records of it."""

    def __init__(self, log_dir: Path, *, rank: int) -> None:
        log_dir.mkdir(parents=True, exist_ok=True)
        self._rank = rank
        self._base = log_dir / f"rank-{rank:05d}"
        self._told_to_stop = False
        self._child = 0

    def run(self, trainer: list[str]) -> int:
        """Start the trainer, wait for its end, write the record; returns the exit code to pass on."""
        logs = {number: self._base.with_suffix(suffix) for number, suffix in ((1, ".stdout"), (2, ".stderr"))}
        followers = [Follower(path, number) for number, path in logs.items()] if self._rank == 0 else []
        begins_at = logs[2].stat().st_size if logs[2].exists() else 0
        oom_kills = count_oom_kills()
        os.environ["RUNNER_BEAT"] = str(self._base.with_suffix(".beat.json"))
        os.environ["RUNNER_STACKS"] = str(self._base.with_suffix(".stacks.txt"))
        requests = requests_to_save(os.environ)
        for number in requests:
            signal.signal(number, signal.SIG_IGN)  # inherited by the trainer, and kept by all ranks but one
        self._child = _spawn([sys.executable, *trainer], logs)
        for number in FORWARDED:
            if number not in requests:
                signal.signal(number, self._forward)
            elif self._rank == 0:
                signal.signal(number, _ask_run_to_stop)
        identity = identify(self._child)
        self._write("pid.json", {"rank": self._rank, "shim": identify(os.getpid()), "trainer": identity})
        guard = self._guard()
        threads: list[Follower | Guard] = [*followers, *([guard] if guard else [])]
        for thread in threads:
            thread.start()
        _, status, usage = os.wait4(self._child, 0)
        ended = time.time_ns()
        code = os.waitstatus_to_exitcode(status)
        for thread in threads:
            thread.finish()
        because = guard.ended_because if guard else None
        words = last_words(_added(logs[2], begins_at)) if code not in {0, STOPPED} else None
        self._write(
            "json",
            {
                "rank": self._rank,
                "host": identity["host"],
                "pid": identity["pid"],
                "start_ticks": identity["start_ticks"],
                "exit_code": code if code >= 0 else 128 - code,
                "signal": -code if code < 0 else None,
                "t_ns": ended,
                "told_to_stop": self._told_to_stop or because is not None,
                "max_rss_kb": usage.ru_maxrss,
                "fault": words[0] if words else None,
                "exception": words[1] if words else because,
                "oom_kills": _added_kills(oom_kills),
            },
        )
        return code if code >= 0 else 128 - code

    def _guard(self) -> Guard | None:
        """Whoever looks after the trainer; nobody for a program outside of a run."""
        if "RUNNER_RUN" not in os.environ:
            return None
        return Guard(
            RunDir(Path(os.environ["RUNNER_RUN"])),
            nonce=os.environ.get("RUNNER_NONCE", ""),
            trainer=self._child,
            stacks=Path(os.environ["RUNNER_STACKS"]),
        )

    def _forward(self, number: int, _frame: object) -> None:
        self._told_to_stop = True
        with suppress(ProcessLookupError):
            os.kill(self._child, number)

    def _write(self, suffix: str, document: object) -> None:
        path = self._base.with_suffix(f".{suffix}")
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(document, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(path)


class Follower(threading.Thread):
    """Copies what is added to a log file to this process's own stdout (1) or stderr (2)."""

    def __init__(self, path: Path, number: int) -> None:
        super().__init__(daemon=True)
        path.touch()
        self._file: BinaryIO = path.open("rb")
        self._file.seek(0, os.SEEK_END)
        self._number = number
        self._ended = threading.Event()

    def run(self) -> None:
        """Copy until `finish`, then once more."""
        while not self._ended.wait(POLL_SECONDS):
            self._copy()
        self._copy()

    def finish(self) -> None:
        """Copy the rest and stop; returns at once when nobody reads the copies any more."""
        self._ended.set()
        self.join(timeout=5)

    def _copy(self) -> None:
        with suppress(BrokenPipeError):
            while text := self._file.read(1 << 16):
                written = 0
                while written < len(text):
                    written += os.write(self._number, text[written:])


def _ask_run_to_stop(_number: int, _frame: object) -> None:
    """Write the control file of the run, unless somebody has."""
    run = os.environ.get("RUNNER_RUN")
    if run is not None and not RunDir(Path(run)).stop_file.exists():
        with suppress(OSError):  # whoever can write nothing cannot save either
            ask_to_stop(RunDir(Path(run)).stop_file, by="signal")


def _added(log: Path, begins_at: int) -> str:
    """The end of what was added to a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(begins_at, log.stat().st_size - TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def _added_kills(before: int | None) -> int:
    """How often the kernel has killed a process of this group for want of memory since then."""
    now = count_oom_kills()
    return 0 if before is None or now is None else now - before


def _spawn(argv: list[str], logs: Mapping[int, Path]) -> int:
    """Start argv with its output appended to the logs; it is killed when this process dies."""
    parent = os.getpid()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = {number: os.open(path, flags, 0o644) for number, path in logs.items()}
    child = os.fork()
    if child:
        for descriptor in files.values():
            os.close(descriptor)
        return child
    die_with_parent()
    if os.getppid() != parent:
        os._exit(PARENT_GONE)
    for number, descriptor in files.items():
        os.dup2(descriptor, number)
    return os.execv(argv[0], argv)  # noqa: S606 - an argument list, no shell


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
