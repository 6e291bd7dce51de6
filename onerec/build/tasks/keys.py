"""What chance decides about a row, from seed and key alone: its uuid, its wording, which events stay.

Neither the order of rows nor how many there are has a say.

Shapes: R rows, E events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa

UInt8 = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]
DIGEST_BYTES = 24
"""16 for the uuid, 8 for the choice."""
HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
DASHES = (8, 13, 18, 23)
VERSION, VARIANT = 0x80, 0x80
"""RFC 9562: an id of version 8 is made as its maker likes; the variant is the high bits 10."""


@dataclass(frozen=True)
class Draws:
    """What chance has decided about R rows."""

    uuids: pa.StringArray
    chances_R: UInt64
    """Evenly distributed."""

    def choice(self, among: int) -> Int64:
        """One of so many, for each row."""
        return np.asarray(self.chances_R % np.uint64(among), dtype=np.int64)

    def kept(self, rows_E: Int64, places_E: Int64, chance: float) -> npt.NDArray[np.bool_]:
        """Whether each event, at its place in its row, stays, where each does with the given chance."""
        mixed_E = _mixed(self.chances_R[rows_E] + places_E.astype(np.uint64))
        return np.asarray((mixed_E >> np.uint64(11)).astype(np.float64) * 2.0**-53 < chance)


def draw(keys: Sequence[str], *, seed: int) -> Draws:
    """Draws of the rows with these keys."""
    digests = b"".join(blake2b(f"{seed}/{key}".encode(), digest_size=DIGEST_BYTES).digest() for key in keys)
    digests_RB = np.frombuffer(digests, dtype=np.uint8).reshape(-1, DIGEST_BYTES)
    chances_R = np.ascontiguousarray(digests_RB[:, 16:]).view("<u8")[:, 0].astype(np.uint64)
    return Draws(_uuids(digests_RB[:, :16].copy()), chances_R)


def ranked(keys: Sequence[str], *, seed: int) -> Int64:
    """Places of the keys in an order by chance."""
    return np.argsort(draw(keys, seed=seed).chances_R, kind="stable")


def _uuids(bytes_RB: UInt8) -> pa.StringArray:
    bytes_RB[:, 6] = bytes_RB[:, 6] & 0x0F | VERSION
    bytes_RB[:, 8] = bytes_RB[:, 8] & 0x3F | VARIANT
    letters_RL = HEX[np.stack([bytes_RB >> 4, bytes_RB & 0x0F], axis=2)].reshape(-1, 32)
    spelled_RL = np.insert(letters_RL, [place - n for n, place in enumerate(DASHES)], ord("-"), axis=1)
    borders = np.arange(len(spelled_RL) + 1, dtype=np.int32) * 36
    return pa.StringArray.from_buffers(len(spelled_RL), pa.py_buffer(borders), pa.py_buffer(spelled_RL))


def _mixed(state_E: UInt64) -> UInt64:
    """SplitMix64's output for each state (Steele, Lea, Flood 2014)."""
    state_E = state_E * np.uint64(0x9E3779B97F4A7C15)
    state_E = (state_E ^ (state_E >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state_E = (state_E ^ (state_E >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state_E ^ (state_E >> np.uint64(31))
