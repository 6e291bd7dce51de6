"""Signs of life: small files that are written again and again in place, for others to see who still moves.

Standard library only. Nothing is renamed or flushed: showing costs microseconds, and takes no room on a disk
that is full. A crash may lose the newest sign; a reader that meets a half written one sees none.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BEACON_BYTES = 512
REOPEN_SECONDS = 2.0
"""A network file system sends what was written when a file is closed: other hosts see it so often."""

Phase = Literal["set-up", "data", "step", "evaluate", "save", "end"]
PHASES: tuple[Phase, ...] = ("set-up", "data", "step", "evaluate", "save", "end")
"""What a rank of training is at, in the order in which one step goes through them."""


class Beacon:
    """One file that shows the newest of a series of documents, each of at most 511 bytes of JSON."""

    def __init__(self, path: Path) -> None:
        """Make the file; raises OSError where that cannot be done."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        self._opened = time.monotonic()

    def show(self, document: Mapping[str, object]) -> None:
        """Replace what is shown; a disk that does not take it keeps what was shown before."""
        text = json.dumps(document, separators=(",", ":")).encode()
        assert len(text) < BEACON_BYTES, f"{len(text)} bytes do not fit into a beacon"
        with suppress(OSError):
            os.pwrite(self._descriptor, text.ljust(BEACON_BYTES - 1) + b"\n", 0)
            if time.monotonic() - self._opened > REOPEN_SECONDS:
                self._reopen()

    def close(self) -> None:
        """Show nothing more; what was shown last stays."""
        with suppress(OSError):
            os.close(self._descriptor)

    def _reopen(self) -> None:
        descriptor = os.open(self._path, os.O_WRONLY)
        os.close(self._descriptor)
        self._descriptor, self._opened = descriptor, time.monotonic()


def read_beacon(path: Path) -> dict[str, object] | None:
    """What a beacon shows; None where there is none or only a part can be seen."""
    try:
        document = json.loads(path.read_bytes()[:BEACON_BYTES])
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


@dataclass(frozen=True)
class Beat:
    """What one rank of training is at. Two that are equal mean that it has not moved between them."""

    phase: Phase
    step: int
    """Steps that are done."""
    count: int
    """How often it has shown anything."""


class Heart:
    """Shows what this rank is at, where somebody wants to know it; nothing otherwise."""

    def __init__(self, path: Path | None) -> None:
        """`path`: the beacon of this rank; None when nobody watches."""
        self._beacon = None if path is None else Beacon(path)
        self._count = 0
        self._step = 0

    def beat(self, phase: Phase, step: int | None = None) -> None:
        """Show that this rank moves: what it is at, and the steps that are done (default: as before)."""
        if self._beacon is None:
            return
        self._count += 1
        self._step = self._step if step is None else step
        self._beacon.show({"phase": phase, "step": self._step, "count": self._count, "time": time.time()})


def read_beat(path: Path) -> Beat | None:
    """The newest sign of life of a rank; None where there is none or it is of another form."""
    document = read_beacon(path) or {}
    phase, step, count = (document.get(key) for key in ("phase", "step", "count"))
    if phase not in PHASES or not isinstance(step, int) or not isinstance(count, int):
        return None
    return Beat(phase, step, count)
