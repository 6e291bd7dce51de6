"""Estimates from a sample of rows, with how far off they may be. Pure.

Rows of one file are often alike, so files count as clusters where there are enough of them (Cochran, Sampling
Techniques, 1977, section 9A.3); nothing is told beyond what the sample can carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onerec.data.order.pack import best_fit

NORMAL_95 = 1.96
"""Half the width of a 95 % interval in standard errors."""
FEWEST_FILES = 8
"""Files below which the spread between files says too little."""
PACKED_SAMPLES = 20_000
"""About as many samples are packed to see how well packs are filled."""


@dataclass(frozen=True)
class Total:
    """A total over all rows, and half the width of its 95 % interval; 0 where every row was looked at."""

    value: float
    plus_minus: float | None
    """None where the sample is too small to say: fewer than two rows."""


def estimate_total(values: Sequence[float], files: Sequence[int], *, rows: int) -> Total:
    """Total of a value over `rows` rows, given its value in some rows and the number of each one's file."""
    sampled = len(values)
    if sampled == 0:
        return Total(0.0, None)
    array: npt.NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if sampled >= rows:
        return Total(mean * rows, 0.0)
    if sampled < 2:
        return Total(mean * rows, None)
    error = max(_error_by_rows(array), _error_by_files(array, np.asarray(files)))
    unseen = (1 - sampled / rows) ** 0.5
    return Total(mean * rows, NORMAL_95 * error * unseen * rows)


def _error_by_rows(values: npt.NDArray[np.float64]) -> float:
    """Standard error of the mean of independent rows."""
    return float(values.std(ddof=1) / len(values) ** 0.5)


def _error_by_files(values: npt.NDArray[np.float64], files: npt.NDArray[np.int64]) -> float:
    """The same where rows of one file are alike; 0 for too few files."""
    _, places = np.unique(files, return_inverse=True)
    count = int(places.max()) + 1
    if count < FEWEST_FILES:
        return 0.0
    off = np.bincount(places, weights=values - values.mean())
    return float((count / (count - 1) * np.square(off).sum()) ** 0.5 / len(values))


def estimate_packs(lengths: Sequence[int], *, sampled_rows: int, rows: int, max_length: int) -> float:
    """Packs of all rows, given the lengths of the samples that some rows gave.

    The samples are packed as often as there are more rows, but not beyond what shows how packs fill up.
    """
    if not lengths or not sampled_rows:
        return 0.0
    times = max(1, min(round(rows / sampled_rows), -(-PACKED_SAMPLES // len(lengths))))
    _, packs = best_fit(np.tile(np.asarray(lengths, dtype=np.int64), times), max_length)
    return packs * rows / (sampled_rows * times)
