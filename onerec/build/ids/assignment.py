"""Codes for the items of one level, such that in the end no two items share an id.

The rule. A code takes at most as many items of one prefix as there are ids below it: K ** (levels that
follow), one at the last level. Where more items want it, the closest keep it and the others, closest first,
go to the nearest code that has room; of equal items the one of lower number is first. Items that have their
ids already keep them and their room.

Shapes: N items, D vector width, K codes, M items that have ids already, P prefixes, B items at one time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onerec.build.ids.codebook import CHUNK_DISTANCES, Codebook, scores, squared_distances
from onerec.build.interactions import Float32, Int64


@dataclass(frozen=True)
class Taken:
    """Codes that items already have."""

    prefix_M: Int64
    codes_M: Int64

    @classmethod
    def nothing(cls) -> Taken:
        """No item has an id."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))


@dataclass(frozen=True)
class Placed:
    """Codes and the items that did not get the code nearest to them."""

    codes_N: Int64
    is_moved_N: npt.NDArray[np.bool_]


def make_room(
    residual_ND: Float32, book: Codebook, wanted_N: Int64, prefix_N: Int64, *, room: int, taken: Taken
) -> Placed:
    """Codes by the rule at the head of this file for items that want the codes `wanted_N`.

    Callers see to it that every prefix has room for its items.
    """
    codes = book.size
    keys_N, keys_M = prefix_N * codes + wanted_N, taken.prefix_M * codes + taken.codes_M
    left_N = room - _count_of(keys_M, keys_N)
    crowded_N = _count_of(keys_N, keys_N) > left_N
    codes_N = wanted_N.copy()
    if not crowded_N.any():
        return Placed(codes_N, np.zeros(len(codes_N), dtype=bool))
    closeness_N = np.full(len(codes_N), -np.inf, dtype=np.float32)
    rivals = np.flatnonzero(crowded_N)
    closeness_N[rivals] = squared_distances(residual_ND[rivals], book.centroids_KD, wanted_N[rivals])
    moved = rivals[rank_within(keys_N[rivals], closeness_N[rivals]) >= left_N[rivals]]
    moved = moved[np.lexsort((closeness_N[moved], prefix_N[moved]))]
    is_moved_N = np.zeros(len(codes_N), dtype=bool)
    is_moved_N[moved] = True
    occupied = np.sort(np.concatenate([keys_M, keys_N[~is_moved_N]]))
    for part in _whole_prefixes(prefix_N[moved], most=max(1, CHUNK_DISTANCES // codes)):
        own = moved[part]
        codes_N[own] = _move(residual_ND[own], book, prefix_N[own], occupied, room=room)
    return Placed(codes_N, is_moved_N)


def _move(residual_BD: Float32, book: Codebook, prefix_B: Int64, occupied: Int64, *, room: int) -> Int64:
    """The nearest code with room for items that stand in the order in which they may choose.

    Prefixes do not touch each other: the first of all of them choose at once, then the second, and so on.
    """
    codes = book.size
    prefixes_P, local_B = np.unique(prefix_B, return_inverse=True)
    left_PK = room - _counts_of_prefixes(occupied, prefixes_P, codes)
    turn_B = rank_within(local_B, np.zeros(len(local_B), dtype=np.float32))
    in_turn = np.argsort(turn_B, kind="stable")
    codes_B = np.empty(len(prefix_B), dtype=np.int64)
    step = max(1, CHUNK_DISTANCES // codes)
    for start in range(0, len(in_turn), step):
        some = in_turn[start : start + step]
        scores_SK = scores(residual_BD[some], book)
        bounds = np.flatnonzero(np.diff(turn_B[some])) + 1
        for begin, end in zip([0, *bounds.tolist()], [*bounds.tolist(), len(some)], strict=True):
            at_once, own = some[begin:end], local_B[some[begin:end]]
            free_SK = np.where(left_PK[own] > 0, scores_SK[begin:end], np.inf)
            codes_B[at_once] = free_SK.argmin(axis=1)
            left_PK[own, codes_B[at_once]] -= 1
    return codes_B


def _counts_of_prefixes(keys: Int64, prefixes_P: Int64, codes: int) -> Int64:
    """How many of the sorted keys each code of each prefix has, (P, K)."""
    bounds = np.searchsorted(keys, [prefixes_P[0] * codes, (prefixes_P[-1] + 1) * codes])
    near = keys[bounds[0] : bounds[1]]
    places = np.searchsorted(prefixes_P, near // codes)
    own = prefixes_P[places] == near // codes
    counts = np.bincount(places[own] * codes + near[own] % codes, minlength=len(prefixes_P) * codes)
    return counts.reshape(len(prefixes_P), codes)


def _whole_prefixes(sorted_prefix_B: Int64, *, most: int) -> list[slice]:
    """Parts with at most so many prefixes each."""
    begins = np.flatnonzero(np.diff(sorted_prefix_B, prepend=-1))[::most].tolist()
    return [slice(begin, end) for begin, end in zip(begins, [*begins[1:], len(sorted_prefix_B)], strict=True)]


def _count_of(keys: Int64, asked: Int64) -> Int64:
    """How often each of the asked keys is among the keys."""
    known, counts = np.unique(keys, return_counts=True)
    if len(known) == 0:
        return np.zeros(len(asked), dtype=np.int64)
    places = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return np.where(known[places] == asked, counts[places], 0)


def rank_within(groups_B: Int64, closeness_B: Float32) -> Int64:
    """Place of each item among those of its group, the closest first."""
    order = np.lexsort((closeness_B, groups_B))
    begins = np.flatnonzero(np.diff(groups_B[order], prepend=-1))
    ranks_B = np.empty(len(groups_B), dtype=np.int64)
    sizes = np.diff([*begins.tolist(), len(groups_B)])
    ranks_B[order] = np.arange(len(groups_B)) - np.repeat(begins, sizes)
    return ranks_B
