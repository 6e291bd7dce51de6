"""At most one runner per run directory: a lock that the kernel frees when its holder dies.

Readers never take it; they judge by the journal whether the holder is still there.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from onerec.errors import OneRecError
from runner.process import identify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class RunInUseError(OneRecError):
    """Another runner works on this run."""

    exit_code = 5


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the lock; raises RunInUseError naming host, process and time of the one who has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)  # not inheritable: no orphan can keep it
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            raise RunInUseError(_in_use(path)) from fault
        _write_owner(descriptor)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def renew(path: Path) -> None:
    """Show runners and readers on other hosts that the holder is alive."""
    with suppress(OSError):  # a lock that somebody deleted is still held
        os.utime(path)


def age_seconds(path: Path) -> float:
    """Seconds since the holder last renewed; infinite for no lock file."""
    return time.time() - path.stat().st_mtime if path.exists() else float("inf")


def _write_owner(descriptor: int) -> None:
    owner = {**identify(os.getpid()), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(owner).encode() + b"\n", 0)


def _in_use(path: Path) -> str:
    run = path.parent
    remedy = f"wait for it, or stop it with: runner stop {run}"
    try:
        owner = json.loads(path.read_bytes())
    except ValueError:  # its holder has just taken it
        return f"{run} is in use by another runner; {remedy}"
    place = f"process {owner['pid']} on host {owner['host']} since {owner['since']}"
    return f"{run} is in use by another runner: {place}; {remedy}"
