"""Time and memory of a device: events and allocator of a GPU, clock and resident set of a CPU.

Which one it is, is decided by the device alone; rows never ask.
"""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
GIB = 2**30


class Gauge:
    """Reads clock and memory of one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.is_gpu = device.type == "cuda"

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.is_gpu:
            torch.cuda.synchronize(self.device)

    def seconds(self, act: Callable[[], object]) -> float:
        """How long the device takes for `act`, which may leave work to it."""
        self.wait()
        began = time.perf_counter()
        act()
        self.wait()
        return time.perf_counter() - began

    def allocated(self) -> int:
        """Bytes of tensors that are alive; of the whole process on a CPU."""
        if self.is_gpu:
            return int(torch.cuda.memory_allocated(self.device))
        return _resident("VmRSS")

    def forget_peak(self) -> None:
        """Begin to look for a new peak."""
        if self.is_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            CLEAR.write_text("5", encoding="ascii")

    def peak(self) -> int:
        """Most bytes since then."""
        if self.is_gpu:
            return int(torch.cuda.max_memory_allocated(self.device))
        return _resident("VmHWM")

    def extra(self, act: Callable[[], object]) -> int:
        """Bytes that `act` needs at its peak besides what was there before."""
        self.wait()
        before = self.allocated()
        self.forget_peak()
        act()
        self.wait()
        return max(1, self.peak() - before)

    def capacity(self) -> int:
        """Bytes that the device has."""
        if self.is_gpu:
            return int(torch.cuda.get_device_properties(self.device).total_memory)
        return (
            int(next(line for line in Path("/proc/meminfo").open() if "MemTotal" in line).split()[1]) * 1024
        )

    def release(self) -> None:
        """Give back what nobody holds any more."""
        gc.collect()
        if self.is_gpu:
            torch.cuda.empty_cache()

    def name(self) -> str:
        """The device in words."""
        return torch.cuda.get_device_name(self.device) if self.is_gpu else "CPU"

    @contextmanager
    def waits(self) -> Iterator[list[str]]:
        """Where the host waits for the device inside, known at the end; a CPU is never waited for."""
        places: list[str] = []
        if not self.is_gpu:
            yield places
            return
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                yield places
            finally:
                torch.cuda.set_sync_debug_mode("default")
        told = [one for one in caught if "synchronizing CUDA operation" in str(one.message)]
        places += [f"{Path(one.filename).name}, line {one.lineno}" for one in told]


def _resident(field: str) -> int:
    line = next(line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024
