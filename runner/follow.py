"""The logs of a run as lines: those that are there, and on request those that are still being added.

Lines of log files have no times. So those of several ranks are shown rank by rank, in order of rank; with
`follow` new ones come as they are written.
"""

from __future__ import annotations

import re
import time
from collections import deque
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from onerec.errors import ConfigError
from runner.history import fold
from runner.journal import read
from runner.observe import is_owner_alive, read_document
from runner.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from runner.history import History
    from runner.rundir import RunDir, StepDir

POLL_SECONDS = 0.2
BLOCK_BYTES = 1 << 16
LONGEST_LINE = 1 << 20
"""Bytes after which a line that does not end is shown in parts."""


@dataclass(frozen=True)
class Wanted:
    """Which lines are meant."""

    stage: str | None = None
    """Name of a step; None: the one started last."""
    rank: int | None = None
    attempt: int | None = None
    """None: the newest."""
    all_ranks: bool = False
    errors: bool = False
    """Only what was written to stderr."""
    pattern: re.Pattern[str] | None = None
    """Only lines in which this is found."""
    tail: int | None = None
    """Only so many lines of each log, the last of those that are there."""

    @property
    def is_of_ranks(self) -> bool:
        """Whether the ranks' own logs are meant, not what launcher and rank 0 wrote over all attempts."""
        return self.all_ranks or self.errors or self.rank is not None or self.attempt is not None


@dataclass(frozen=True)
class LogFile:
    """One log, and what stands before each of its lines."""

    path: Path
    prefix: str = ""


def pattern_of(text: str) -> re.Pattern[str]:
    """A regular expression; raises ConfigError for one that is none."""
    try:
        return re.compile(text)
    except re.error as fault:
        raise ConfigError(
            f"--grep: {text!r} is no regular expression: {fault}; write \\ before . ( [ and *"
        ) from None


def logs_of(run: RunDir, wanted: Wanted, *, history: History | None = None) -> list[LogFile]:
    """The logs that are meant, in the order they are shown; raises ConfigError naming what there is."""
    home = run.step(_folder(history or fold(read(run.events)), wanted.stage))
    if not wanted.is_of_ranks:
        return [LogFile(home.stdout), LogFile(home.stderr)]
    attempt = _attempt(home, wanted.attempt)
    streams = ("stderr",) if wanted.errors else ("stdout", "stderr")
    ranks = [wanted.rank] if wanted.rank is not None else home.logged_ranks(attempt)
    if wanted.rank is not None and wanted.rank not in home.logged_ranks(attempt):
        there = ", ".join(map(str, home.logged_ranks(attempt))) or "none"
        raise ConfigError(f"{home.logs(attempt)} has no log of rank {wanted.rank}; the ranks are {there}")
    prefixes = {} if wanted.rank is not None else _prefixes(home, attempt, ranks)
    return [
        LogFile(home.rank_log(attempt, rank, stream), prefixes.get(rank, ""))
        for rank in ranks
        for stream in streams
    ]


def read_logs(run: RunDir, wanted: Wanted, *, follow: bool) -> Iterator[str]:
    """The lines, each with its newline; with `follow` those that are added, until the run has ended.

    Followed are also ranks, attempts and (without a stage) steps that begin meanwhile.
    """
    with ExitStack() as stack:
        readers: dict[LogFile, _Reader] = {}
        is_first = True
        while True:
            history = fold(read(run.events))
            alive = follow and is_owner_alive(run, history)
            with nullcontext() if is_first else suppress(ConfigError):  # a new attempt has no logs yet
                for log in logs_of(run, wanted, history=history):
                    if log not in readers and log.path.exists():
                        readers[log] = _Reader(stack.enter_context(log.path.open("rb")), log.prefix)
            yield from _new_lines(list(readers.values()), wanted, is_first=is_first, is_last=not alive)
            is_first = False
            if not alive:
                return
            time.sleep(POLL_SECONDS)


class _Reader:
    """The lines of one log, as they are completed."""

    def __init__(self, file: BinaryIO, prefix: str) -> None:
        self._file, self._prefix = file, prefix
        self._rest = b""

    def skip_to_last(self, count: int) -> None:
        """Go to where the last `count` lines begin."""
        position, found = self._file.seek(0, 2), -1  # the newline at the end begins no line
        while position > 0 and found < count:
            size = min(BLOCK_BYTES, position)
            position = self._file.seek(position - size)
            block = self._file.read(size)
            found += block.count(b"\n")
        self._file.seek(position)

    def lines(self, *, is_last: bool) -> Iterator[str]:
        """Lines that were completed since; `is_last`: also what has no end."""
        while added := self._file.read(BLOCK_BYTES):
            *whole, self._rest = (self._rest + added).split(b"\n")
            yield from map(self._shown, whole)
            if len(self._rest) > LONGEST_LINE:
                yield self._shown(self._rest)
                self._rest = b""
        if is_last and self._rest:
            yield self._shown(self._rest)
            self._rest = b""

    def _shown(self, line: bytes) -> str:
        text = line.decode("utf-8", errors="replace").removesuffix("\r")
        return f"{self._prefix}{printable(text, keep=chr(9))}\n"


def _new_lines(readers: Sequence[_Reader], wanted: Wanted, *, is_first: bool, is_last: bool) -> Iterator[str]:
    for reader in readers:
        is_cut = is_first and wanted.tail is not None
        if is_cut and wanted.pattern is None:
            reader.skip_to_last(wanted.tail or 0)
        lines = (
            line
            for line in reader.lines(is_last=is_last)
            if wanted.pattern is None or wanted.pattern.search(line)
        )
        yield from deque(lines, maxlen=wanted.tail) if is_cut else lines


def _folder(history: History, stage: str | None) -> str:
    folders = {step["name"]: step["folder"] for step in history.steps}
    if stage is not None:
        if stage not in folders:
            raise ConfigError(f"no step {stage!r}; the steps are {', '.join(folders)}")
        return folders[stage]
    began = [(told.began, name) for name, told in history.by_step.items() if name in folders]
    if not began:
        raise ConfigError("no step of this run has started yet, so there are no logs")
    return folders[max(began)[1]]


def _attempt(home: StepDir, wanted: int | None) -> int:
    numbers = home.attempt_numbers()
    if not numbers:
        raise ConfigError(f"{home.path} has no logs; the step has not started yet")
    if wanted is not None and wanted not in numbers:
        there = ", ".join(map(str, numbers))
        raise ConfigError(f"{home.path} has no logs of attempt {wanted}; the attempts are {there}")
    return numbers[-1] if wanted is None else wanted


def _prefixes(home: StepDir, attempt: int, ranks: Sequence[int]) -> dict[int, str]:
    """`[rank 3 on host2] ` for each rank, without the host where there is only one."""
    hosts: dict[int, object] = {}
    for path in home.process_records(attempt):
        record = read_document(path)
        rank, shim = record.get("rank"), record.get("shim")
        with suppress(TypeError, AttributeError):
            hosts[int(rank)] = shim.get("host")  # type: ignore[call-overload, attr-defined]
    several = len(set(hosts.values())) > 1
    return {
        rank: f"[rank {rank} on {printable(str(hosts.get(rank, '?')))}] " if several else f"[rank {rank}] "
        for rank in ranks
    }
