"""Who a process is, so that it can be found again and never confused with a later one of the same number.

Linux only and the standard library only: the rank shim uses it before anything else is loaded.
"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path
from typing import TypedDict

PR_SET_PDEATHSIG = 1


class Identity(TypedDict):
    """One process on one boot of one host; `start_ticks` tells it from a later one with the same pid."""

    host: str
    boot_id: str
    pid: int
    start_ticks: int


def identify(pid: int) -> Identity:
    """Identity of a living process of this host."""
    ticks = start_ticks(pid) or 0
    return {"host": os.uname().nodename, "boot_id": boot_id(), "pid": pid, "start_ticks": ticks}


def boot_id() -> str:
    """A name of this boot of this host."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None for one that is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the command before it may hold spaces and parentheses
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def cpu_ticks(pid: int) -> int:
    """Clock ticks that a process of this host and all below it have computed; 0 for one that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) + sum(cpu_ticks(int(child)) for child in below)


def is_alive(identity: Identity) -> bool:
    """Whether exactly this process lives on this host; false for one of another host or an earlier boot."""
    if identity["host"] != os.uname().nodename or identity["boot_id"] != boot_id():
        return False
    return start_ticks(identity["pid"]) == identity["start_ticks"]


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel kill this process when its parent thread ends; kept over exec, lost over fork.

    `number` is another signal to send instead; 0: none after all.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def kill(identity: Identity, number: int = signal.SIGKILL) -> bool:
    """Send a signal to exactly this process and, where it leads one, its group; false if it is gone."""
    if not is_alive(identity):
        return False
    pid = identity["pid"]
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
