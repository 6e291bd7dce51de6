"""Read /proc: which processes live, whose children they are, what of a runner stands in their environment.

Linux only. Processes that may not be looked into are told without command and environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PROC = Path("/proc")
PREFIX = "RUNNER_"


@dataclass(frozen=True)
class Process:
    """One living process of this host."""

    pid: int
    parent: int
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables that begin with RUNNER_, as they were when the process began."""


def read_processes() -> dict[int, Process]:
    """Every living process but this one, by its number; zombies are dead."""
    found = (_read(entry) for entry in PROC.glob("[0-9]*"))
    return {one.pid: one for one in found if one is not None and one.pid != os.getpid()}


def holders_of(path: Path) -> tuple[int, ...]:
    """Processes that have a file open; those that may not be looked into are left out."""
    wanted = os.path.realpath(path)
    holders = set()
    for descriptor in PROC.glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if str(descriptor.readlink()) == wanted:
                holders.add(int(descriptor.parent.parent.name))
    return tuple(sorted(holders - {os.getpid()}))


def is_locked(path: Path) -> bool:
    """Whether some process holds a file's flock, by the kernel's own list: nothing is locked to find out."""
    try:
        status = path.stat()
        lines = (PROC / "locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    wanted = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    # "1: FLOCK  ADVISORY  WRITE 9294 fe:00:2162857 0 EOF"; those that only wait have "->" for the kind
    return any(fields[1] == "FLOCK" and fields[5] == wanted for fields in map(str.split, lines))


def _read(entry: Path) -> Process | None:
    try:
        text = (entry / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the command before it may hold spaces and parentheses
    if fields[0] in {"Z", "X"}:
        return None
    environment = (line.partition("=") for line in _words(entry / "environ"))
    env = {name: value for name, _, value in environment if name.startswith(PREFIX)}
    return Process(int(entry.name), int(fields[1]), tuple(_words(entry / "cmdline")), env)


def _words(path: Path) -> list[str]:
    """What stands between the zero bytes of a file; nothing where it may not be read."""
    try:
        return [word for word in path.read_bytes().decode(errors="replace").split("\0") if word]
    except OSError:
        return []
