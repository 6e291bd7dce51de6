"""Called while an attempt runs: keeps lock and lease fresh, passes progress on, and finds ranks that hang.

Ends nothing itself; whoever started the launchers is told that the attempt is to be ended.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, cast

from onerec.progress import write_json_atomically
from onerec.pulse import Beat, read_beat
from runner.hang import Pulses, Stacks, parse_stacks
from runner.lease import RENEWAL_SECONDS
from runner.lock import renew
from runner.observe import read_document
from runner.process import cpu_ticks, is_alive

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from runner.hang import Hang, Limits
    from runner.process import Identity
    from runner.rundir import RunDir, StepDir

STACKS_SECONDS = 6.0
"""How long all ranks together have to write down where they stand: they look once a second."""
SETTLED_SECONDS = 0.5
"""A file of stacks that did not grow for so long is whole."""
POLL_SECONDS = 0.1


class Renewable(Protocol):
    """What has to be renewed so that others see that the runner lives."""

    def renew(self) -> None:
        """Show it once more."""


class Watch:
    """What is seen of one attempt, and what others are told of its runner."""

    def __init__(
        self,
        run: RunDir,
        home: StepDir,
        *,
        attempt: int,
        nonce: str,
        progress: Path,
        lease: Renewable,
        limits: Limits,
        is_training: bool,
        on_progress: Callable[[Mapping[str, object]], None],
    ) -> None:
        """`progress` is the step's progress.json.

        Only ranks of training show signs of life; others live while they compute or make progress.
        """
        self._run, self._home, self._attempt, self._nonce = run, home, attempt, nonce
        self._progress, self._on_progress = progress, on_progress
        self._seen = _changed(progress)
        self._lease = lease
        self._renewed = float("-inf")
        self._pulses = Pulses(limits, now=time.monotonic())
        self._is_training = is_training
        self.hang: Hang | None = None
        """That the ranks no longer move."""
        self.stacks: dict[int, Stacks] = {}
        """Where each rank stood then."""

    def __call__(self) -> bool:
        """Look once; true when the attempt is to be ended, because it hangs."""
        now = time.monotonic()
        if now - self._renewed >= RENEWAL_SECONDS:
            self._renewed = now
            renew(self._run.lock)
            self._lease.renew()
        changed = _changed(self._progress)
        if changed != self._seen:  # an older attempt's is not this one's progress
            self._seen = changed
            self._on_progress(read_document(self._progress))
        if self.hang is None:
            self.hang = self._pulses.look(self._beats(), now=now)
            if self.hang is not None:
                self.stacks = self._ask_for_stacks()
        return self.hang is not None

    def _beats(self) -> dict[int, Beat | None]:
        """What each rank shows that has started and not ended; None: nothing yet."""
        if not self._is_training:
            return self._work()
        logs, signs = self._home.logs(self._attempt), self._home.heartbeats(self._attempt)
        started = {int(path.name[5:10]) for path in self._home.process_records(self._attempt)}
        running = [rank for rank in started if not (logs / f"rank-{rank:05d}.json").exists()]
        return {rank: read_beat(signs[rank]) if rank in signs else None for rank in running}

    def _work(self) -> dict[int, Beat | None]:
        """What the processes of a step without signs of life have done, as far as they are on this host."""
        found: dict[int, Beat | None] = {}
        for path in self._home.process_records(self._attempt):
            rank, trainer = int(path.name[5:10]), read_document(path).get("trainer")
            if not isinstance(trainer, dict):
                continue
            if trainer.get("host") != os.uname().nodename:  # cannot be judged from here
                found[rank] = Beat("set-up", 0, time.monotonic_ns())
            elif is_alive(cast("Identity", trainer)):
                found[rank] = Beat("set-up", 0, hash((cpu_ticks(trainer["pid"]), self._seen)))
        return found

    def _ask_for_stacks(self) -> dict[int, Stacks]:
        """Have every rank write down where it stands, and wait for that; what is not written tells too."""
        ranks = sorted(self._beats())
        files = {rank: self._home.stacks(self._attempt, rank) for rank in ranks}
        with suppress(OSError):  # on a disk that is full it is still told which rank is behind
            write_json_atomically(self._run.stacks_request, {"nonce": self._nonce, "id": os.urandom(4).hex()})
        deadline = time.monotonic() + STACKS_SECONDS
        sizes: dict[int, int] = {}
        settled = time.monotonic()
        while time.monotonic() < deadline:
            found = {rank: _size(path) for rank, path in files.items()}
            if found != sizes:
                sizes, settled = found, time.monotonic()
            if all(sizes.values()) and time.monotonic() - settled > SETTLED_SECONDS:
                break
            self._lease.renew()
            time.sleep(POLL_SECONDS)
        return {rank: parse_stacks(_text(path)) for rank, path in files.items()}


def _changed(path: Path) -> tuple[int, int]:
    try:
        told = path.stat()
    except OSError:
        return (0, 0)
    return (told.st_mtime_ns, told.st_ino)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
