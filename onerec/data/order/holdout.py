"""Which rows are held out for validation: chosen by their uuid alone, whatever else a stage or a dataset has.

So duplicates and pieces of one row stay together, and a later stage with the same share holds out the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UInt64Array = npt.NDArray[np.uint64]
BoolArray = npt.NDArray[np.bool_]
CHUNK = 1 << 20


def mix64(hashes: UInt64Array) -> UInt64Array:
    """Spread 64-bit words evenly; the finaliser of splitmix64 (Steele, Lea and Flood, 2014)."""
    mixed = hashes ^ (hashes >> np.uint64(30))
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def held_out(hashes: UInt64Array, fraction: float) -> BoolArray:
    """Which samples are held out, given 64 bits of each uuid and the share of rows, below 1, to hold out."""
    below = np.uint64(int(fraction * 2**64))
    chosen = np.zeros(len(hashes), dtype=np.bool_)
    for start in range(0, len(hashes) if fraction else 0, CHUNK):
        chosen[start : start + CHUNK] = mix64(hashes[start : start + CHUNK]) < below
    return chosen


def listed(hashes: UInt64Array, others: UInt64Array) -> BoolArray:
    """Which samples have a uuid that is among the others."""
    known = np.unique(others)
    found = np.zeros(len(hashes), dtype=np.bool_)
    for start in range(0, len(hashes) if len(known) else 0, CHUNK):
        part = hashes[start : start + CHUNK]
        places = np.minimum(np.searchsorted(known, part), len(known) - 1)
        found[start : start + CHUNK] = known[places] == part
    return found
