"""At most one runner per run directory: a lock that the kernel frees when its holder dies.

Some network file systems keep such locks to each host. There the file itself tells: a holder on another host
renews it, and whoever wants it looks for that first. Readers never take it; they judge by the journal whether
the holder is still there.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager, suppress
from shlex import quote
from typing import TYPE_CHECKING

from onerec.errors import OneRecError
from runner.process import identify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


FAR_SECONDS = 60.0
"""A holder on another host that does not renew for so long is gone; between attempts it is silent for 25."""
POLL_SECONDS = 0.5


class RunInUseError(OneRecError):
    """Another runner works on this run."""

    exit_code = 5


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the lock; raises RunInUseError naming host, process and time of the one who has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _locked(path)
    try:
        _look_for_far_holder(path)
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


def _locked(path: Path) -> int:
    """The lock file, open and locked. One that was replaced meanwhile is no lock for anybody else: again."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)  # not inheritable: no orphan can keep it
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            os.close(descriptor)
            raise RunInUseError(_in_use(path)) from fault
        with suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        os.close(descriptor)


def _look_for_far_holder(path: Path) -> None:
    """Raise RunInUseError when somebody on another host renews the lock; it takes seconds to know that."""
    owner = _owner(path)
    if owner is None or owner.get("host") == os.uname().nodename:
        return
    renewed = _renewed(path)
    deadline = time.monotonic() + FAR_SECONDS
    while time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        if _renewed(path) != renewed:
            raise RunInUseError(_in_use(path))


def _renewed(path: Path) -> int:
    """When it was renewed, as the file system tells; opening it makes a network file system look anew."""
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_mtime_ns


def _owner(path: Path) -> dict[str, object] | None:
    try:
        owner = json.loads(path.read_bytes())
    except ValueError:
        return None
    return owner if isinstance(owner, dict) else None


def _write_owner(descriptor: int) -> None:
    owner = {**identify(os.getpid()), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(owner).encode() + b"\n", 0)


def _in_use(path: Path) -> str:
    run = path.parent
    remedy = f"wait for it, or stop it with: runner stop {quote(str(run))}"
    owner = _owner(path)
    if owner is None:  # its holder has just taken it
        return f"{run} is in use by another runner; {remedy}"
    place = f"process {owner.get('pid')} on host {owner.get('host')} since {owner.get('since')}"
    return f"{run} is in use by another runner: {place}; {remedy}"
