"""Time and peak memory of one piece of work in this process, for scripts that run in a process of their own.

Memory is what the process holds at most beyond what it held before (VmHWM, made to start anew), so inputs do
not count; what the caller keeps of the results can be taken off by their size.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")
STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


def measured(work: Callable[[], Result]) -> tuple[Result, float, int]:
    """What `work` gives, its seconds, and the bytes by which memory rose at most while it ran."""
    CLEAR.write_text("5")  # VmHWM becomes what is held now
    before = _status_bytes("VmRSS")
    began = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - began
    return result, seconds, _status_bytes("VmHWM") - before


def _status_bytes(name: str) -> int:
    return int(STATUS.read_text().partition(f"{name}:")[2].split()[0]) * 1024


def of_process() -> dict[str, float]:
    """Seconds since this process was started, and the most bytes that it has held."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return {"seconds": uptime - ticks / os.sysconf("SC_CLK_TCK"), "bytes": float(_status_bytes("VmHWM"))}
