"""Whether the runner that started last still works on a run, as an onlooker can tell who takes no lock.

The judgement is pure; what it goes by is looked up in one function.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runner.process import boot_id, start_ticks

if TYPE_CHECKING:
    from runner.process import Identity

LEASE_SECONDS = 60.0
"""A runner on another host counts as gone when it has not renewed its lock for so long."""


@dataclass(frozen=True)
class Onlooker:
    """What can be seen from one host of the runner that a journal names."""

    host: str
    boot_id: str
    start_ticks: int | None
    """When the process with the runner's number started here; None: there is none."""
    holds_lock: bool | None
    """Whether that process has this run's lock open; None: that cannot be seen, or there is no lock."""
    lock_age: float | None
    """Seconds since the lock was renewed, by this clock: negative for one from the future; None: no lock."""


def is_at_work(owner: Identity, seen: Onlooker) -> bool:
    """Whether the runner lives and works on this very directory.

    On this host: exactly that process lives, and has the lock of this directory open, not of one that this is
    a copy of. On another host: it renewed the lock of late. A lock from the future proves nothing.
    """
    if owner["host"] != seen.host:
        return seen.lock_age is not None and abs(seen.lock_age) < LEASE_SECONDS
    same_process = owner["boot_id"] == seen.boot_id and owner["start_ticks"] == seen.start_ticks
    return same_process and seen.holds_lock is not False


def look(owner: Identity, lock: Path) -> Onlooker:
    """What can be seen from here."""
    renewed = None
    with suppress(OSError):
        renewed = lock.stat().st_mtime
    host = os.uname().nodename
    is_here = owner["host"] == host
    return Onlooker(
        host=host,
        boot_id=boot_id(),
        start_ticks=start_ticks(owner["pid"]) if is_here else None,
        holds_lock=_has_open(owner["pid"], lock) if is_here else None,
        lock_age=None if renewed is None else time.time() - renewed,
    )


def _has_open(pid: int, lock: Path) -> bool | None:
    try:
        wanted = lock.stat()
        files = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # no lock, or the process is gone or somebody else's
        return None
    for file in files:
        with suppress(OSError):  # closed meanwhile
            found = file.stat()
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    return False
