"""How far each file of a preparation is, in memory that its processes share and read at any moment."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from multiprocessing import sharedctypes
from multiprocessing.context import ForkServerContext

import numpy as np
import numpy.typing as npt

COLUMNS = 5
"""Files, bytes, samples and tokens that are done, and the process that has the file."""


@dataclass(frozen=True)
class Counts:
    """What is done so far, of some files."""

    files: int = 0
    """Files that are done to their end."""
    bytes: int = 0
    """Bytes of input that are done, files in the middle included."""
    samples: int = 0
    tokens: int = 0


class Tally:
    """One line of numbers for each file; each line is written by the process that has the file."""

    def __init__(self, files: int) -> None:
        self._memory = sharedctypes.RawArray(ctypes.c_int64, max(files, 1) * COLUMNS)

    def begin(self, file: int) -> None:
        """Note that this process has the file."""
        self._lines()[file, 4] = os.getpid()

    def place_of(self, process: int | None) -> int | None:
        """The file that a process has begun and not finished."""
        lines = self._lines()
        found = np.flatnonzero((lines[:, 4] == process) & (lines[:, 0] == 0))
        return int(found[0]) if len(found) else None

    def tell(self, file: int, *, bytes_done: int, samples: int, tokens: int) -> None:
        """Set what is done of a file."""
        self._lines()[file, 1:4] = bytes_done, samples, tokens

    def finish(self, file: int) -> None:
        """Count a file as done."""
        self._lines()[file, 0] = 1

    def counts(self) -> Counts:
        """Sums over all files."""
        return Counts(*map(int, self._lines().sum(axis=0)[:4]))

    def _lines(self) -> npt.NDArray[np.int64]:
        return np.frombuffer(memoryview(self._memory), dtype=np.int64).reshape(-1, COLUMNS)


class Queue:
    """Places from 0 to `length` that processes draw one by one, until all are drawn or it is closed."""

    def __init__(self, length: int, context: ForkServerContext) -> None:
        self._next, self._length = context.Value(ctypes.c_int64, 0), length
        self._closed = sharedctypes.RawValue(ctypes.c_bool, False)

    def draw(self) -> int | None:
        """The next place; None when there is none left."""
        with self._next.get_lock():
            place = int(self._next.value)
            self._next.value += 1
        return place if place < self._length and not self.is_closed else None

    def close(self) -> None:
        """Let nothing more be drawn; whoever is at work looks at `is_closed`."""
        self._closed.value = True

    @property
    def is_closed(self) -> bool:
        """Whether the work is given up."""
        return bool(self._closed.value)
