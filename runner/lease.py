"""The lease of an attempt: shown by its runner while it is wanted, watched by the shims of all hosts.

A trainer ends when its lease is taken away, and one on another host also when nobody renews it: no signal
reaches a host that is cut off, but the run directory does. Standard library only.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from onerec.pulse import Beacon

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

LEASE_SECONDS = 30.0
"""A trainer on another host than its runner's ends when the lease was not renewed for so long."""
RENEWAL_SECONDS = 3.0
LOOKS_WITHOUT_LEASE = 2
"""How often in a row the lease has to be gone: a network file system may hide a file for a moment."""


class HeldLease:
    """The runner's side."""

    def __init__(self, path: Path, *, nonce: str) -> None:
        """Show that the attempt of this nonce is wanted; raises OSError where the file cannot be written."""
        path.unlink(missing_ok=True)  # a beacon keeps its place, and an older one may be longer
        self._path, self._nonce, self._count = path, nonce, 0
        self._beacon = Beacon(path)
        self.renew()

    def renew(self) -> None:
        """Show once more that it is wanted, by a runner that lives."""
        self._count += 1
        self._beacon.show({"nonce": self._nonce, "host": os.uname().nodename, "count": self._count})

    def give_up(self) -> None:
        """The attempt is over: whatever is left of it ends by itself."""
        self._beacon.close()
        self._path.unlink(missing_ok=True)


@contextmanager
def hold_lease(path: Path, *, nonce: str) -> Iterator[HeldLease]:
    """A lease for as long as this is entered."""
    lease = HeldLease(path, nonce=nonce)
    try:
        yield lease
    finally:
        lease.give_up()


@dataclass(frozen=True)
class SeenLease:
    """What a shim has seen so far of the lease of its attempt, by its own clock, which never jumps."""

    nonce: str
    is_far: bool
    """Whether the runner is on another host: only then can it vanish without this process being told."""
    count: int
    """The newest renewal that was seen."""
    renewed: float
    """When it was first seen, in seconds."""
    looks_without: int = 0
    """How often in a row it was gone, or another attempt's."""

    def seen(self, document: Mapping[str, object] | None, *, now: float) -> SeenLease:
        """The lease after one more look; None: there is no file, or not a whole one."""
        if document is None or document.get("nonce") != self.nonce:
            return replace(self, looks_without=self.looks_without + 1)
        count = document.get("count")
        if isinstance(count, int) and count != self.count:
            return replace(self, count=count, renewed=now, looks_without=0)
        return replace(self, looks_without=0)

    def lost(self, *, now: float) -> str | None:
        """Why the attempt is not wanted any more; None while it is."""
        if self.looks_without >= LOOKS_WITHOUT_LEASE:
            return "its attempt is over"
        if self.is_far and now - self.renewed > LEASE_SECONDS:
            return f"its runner on another host gave no sign of life for {LEASE_SECONDS:g} s"
        return None


def first_look(
    document: Mapping[str, object] | None, *, nonce: str, host: str, now: float
) -> SeenLease | None:
    """The lease of an attempt at its start; None where nobody watches, as for a command run by hand."""
    if not document or not nonce or document.get("nonce") != nonce:
        return None
    count = document.get("count")
    return SeenLease(nonce, document.get("host") != host, count if isinstance(count, int) else 0, now)
