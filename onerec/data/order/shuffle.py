"""The order of the samples of an epoch: a pure function of the data's fingerprint, the seed and the epoch.

Only raw output of a counter-based generator and sorting of integers are used: no NumPy may change those.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

CHUNK = 1 << 20
BLOCK = 256
"""Samples that stay near one another on the way from disk to memory: about a disk's read-ahead."""

Key = tuple[str | int, ...]


def shuffled(count: int, *, key: Key) -> npt.NDArray[np.uint32]:
    """The numbers 0 to count - 1 in an order that `key` alone decides; count is below 2**32.

    Each number gets a 64-bit word of random high bits and its own low bits; the sorted words give the order.
    About count**2 / 2**(65 - bits) pairs have equal high bits (3,000 in 41 million) and stay in order.
    """
    bits = np.uint64(max(count - 1, 1).bit_length())
    low = (np.uint64(1) << bits) - np.uint64(1)
    words = np.random.Philox(key=_key(key)).random_raw(count)
    for start in range(0, count, CHUNK):
        part = words[start : start + CHUNK]
        part &= ~low
        part |= np.arange(start, start + len(part), dtype=np.uint64)
    words.sort()
    return _halved(words, low)


def _halved(words: npt.NDArray[np.uint64], low: np.uint64) -> npt.NDArray[np.uint32]:
    """The low bits of the words, in the words' own memory: at 41 million samples a copy would be felt."""
    count = len(words)
    numbers = words.view(np.uint32)
    for start in range(0, count, CHUNK):
        numbers[start : min(start + CHUNK, count)] = words[start : start + CHUNK] & low
    del numbers  # the memory may move now
    words.resize((count + 1) // 2, refcheck=False)
    return words.view(np.uint32)[:count]


def block_groups(tokens: npt.NDArray[np.int64], limit: int, *, key: Key) -> list[npt.NDArray[np.uint32]]:
    """Blocks of these many tokens in shuffled order, cut into groups of about equal size.

    No group is above `limit` tokens, unless two blocks alone are.
    """
    if not len(tokens):
        return []
    order = shuffled(len(tokens), key=key)
    ends = np.cumsum(tokens[order])
    largest, total = int(tokens.max()), int(ends[-1])
    groups = -(-total // max(limit - largest, largest))
    numbers = (ends - tokens[order]) * groups // total
    return np.split(order, np.flatnonzero(np.diff(numbers)) + 1)


def _key(parts: Key) -> int:
    """A 128-bit generator key; parts cannot run into each other."""
    text = "\n".join(f"{type(part).__name__} {part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
