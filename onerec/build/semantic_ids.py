"""Item vectors to semantic ids: residual k-means, one id per item.

Level by level the vectors are clustered and the centroid taken off; the codes met on the way are the id.

A code takes at most as many items of one prefix as there are ids below it (one at the last level). Where more
items choose it, the closest keep it and the others, closest first, go to the nearest code that has room. So
ids never collide, and at the last level an item that moves is a collision resolved.

Shapes: N items, D vector width, K codes, L levels.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onerec.build.sparse import Floats, Ints
from onerec.errors import ConfigError

MAX_ITERATIONS = 50
CHUNK_DISTANCES = 4_000_000
"""Distances that exist at one time: 32 MB."""


@dataclass(frozen=True)
class Level:
    """How well one level does."""

    error: float
    """Mean squared length of what is left, as a share of that of the vectors."""
    codes_used: int
    entropy_bits: float
    """Of the distribution of items over codes; log2(K) at most."""
    moved: int
    """Items that did not get the code nearest to them, for want of room."""


@dataclass(frozen=True)
class SemanticIds:
    """Ids of all items and what they cost."""

    codes_NL: Ints
    levels: tuple[Level, ...]

    @property
    def collisions(self) -> int:
        """Items that had the id of another, closer item before they were moved."""
        return self.levels[-1].moved


def assign(vectors_ND: Floats, *, levels: int, codes: int, rng: np.random.Generator) -> SemanticIds:
    """Ids of `levels` codes below `codes`, no two alike.

    Raises ConfigError when there are more items than ids.
    """
    num_items = len(vectors_ND)
    if num_items > codes**levels:
        raise ConfigError(
            f"{num_items:,} items do not fit into {levels} levels of {codes} codes ({codes**levels:,} ids); "
            "raise vocab.vocab_size_per_layer or vocab.itemic_layer_n"
        )
    residual_ND, total = vectors_ND, float(np.mean(np.sum(vectors_ND**2, axis=1)))
    prefix_N = np.zeros(num_items, dtype=np.int64)
    chosen: list[Ints] = []
    told: list[Level] = []
    for level in range(levels):
        centroids_KD = cluster(residual_ND, codes, rng=rng)
        nearest_N, _ = nearest(residual_ND, centroids_KD)
        room = codes ** (levels - 1 - level)
        codes_N = _make_room(residual_ND, centroids_KD, nearest_N, prefix_N, room=room)
        residual_ND = residual_ND - centroids_KD[codes_N]
        error = float(np.mean(np.sum(residual_ND**2, axis=1))) / total if total else 0.0
        told.append(_level(codes_N, error=error, moved=int(np.sum(codes_N != nearest_N))))
        chosen.append(codes_N)
        prefix_N = np.unique(prefix_N * codes + codes_N, return_inverse=True)[1]
    return SemanticIds(np.stack(chosen, axis=1), tuple(told))


def cluster(points_ND: Floats, codes: int, *, rng: np.random.Generator) -> Floats:
    """Centroids of k-means with k-means++ seeding, (min(codes, N), D)."""
    centroids_KD = _seed(points_ND, min(codes, len(points_ND)), rng=rng)
    before_N = np.full(len(points_ND), -1)
    for _ in range(MAX_ITERATIONS):
        codes_N, squared_N = nearest(points_ND, centroids_KD)
        if np.array_equal(codes_N, before_N):
            break
        centroids_KD = _means(points_ND, codes_N, squared_N, centroids_KD)
        before_N = codes_N
    return centroids_KD


def nearest(points_ND: Floats, centroids_KD: Floats) -> tuple[Ints, Floats]:
    """The nearest centroid of each point and the squared distance to it, both (N,)."""
    codes_N = np.empty(len(points_ND), dtype=np.int64)
    squared_N = np.empty(len(points_ND))
    step = max(1, CHUNK_DISTANCES // len(centroids_KD))
    for start in range(0, len(points_ND), step):
        part = slice(start, start + step)
        distances = _squared_distances(points_ND[part], centroids_KD)
        codes_N[part] = distances.argmin(axis=1)
        squared_N[part] = np.take_along_axis(distances, codes_N[part, None], axis=1)[:, 0]
    return codes_N, squared_N


def _squared_distances(points_ND: Floats, centroids_KD: Floats) -> Floats:
    products_NK = points_ND @ centroids_KD.T
    squares_N1 = np.sum(points_ND**2, axis=1, keepdims=True)
    return np.maximum(squares_N1 - 2 * products_NK + np.sum(centroids_KD**2, axis=1), 0.0)


def _seed(points_ND: Floats, count: int, *, rng: np.random.Generator) -> Floats:
    """k-means++: each next centroid is a point, likelier the farther it lies from those before."""
    centroids_KD = np.empty((count, points_ND.shape[1]))
    closest_N = np.full(len(points_ND), np.inf)
    point = int(rng.integers(len(points_ND)))
    for code in range(count):
        centroids_KD[code] = points_ND[point]
        closest_N = np.minimum(closest_N, np.sum((points_ND - centroids_KD[code]) ** 2, axis=1))
        weights_N = np.cumsum(closest_N)
        point = int(np.searchsorted(weights_N, rng.random() * weights_N[-1], side="right"))
        point = min(point, len(points_ND) - 1)  # all points are centroids: the last one once more
    return centroids_KD


def _means(points_ND: Floats, codes_N: Ints, squared_N: Floats, centroids_KD: Floats) -> Floats:
    """Mean of each code's points; a code without points moves to one of the points that lie farthest off."""
    counts_K = np.bincount(codes_N, minlength=len(centroids_KD))
    sums_KD = np.zeros_like(centroids_KD)
    np.add.at(sums_KD, codes_N, points_ND)
    means_KD = np.where(counts_K[:, None] > 0, sums_KD / np.maximum(counts_K, 1)[:, None], centroids_KD)
    empty = np.flatnonzero(counts_K == 0)
    farthest = np.argsort(-squared_N, kind="stable")[: len(empty)]
    far = squared_N[farthest] > 0
    means_KD[empty[: len(farthest)][far]] = points_ND[farthest[far]]
    return means_KD


def _make_room(
    residual_ND: Floats, centroids_KD: Floats, nearest_N: Ints, prefix_N: Ints, *, room: int
) -> Ints:
    """Codes by the rule at the head of this file: at most `room` items for each (prefix, code)."""
    codes_N = nearest_N.copy()
    crowds = Counter(zip(prefix_N.tolist(), nearest_N.tolist(), strict=True))
    crowded = sorted({prefix for (prefix, _), count in crowds.items() if count > room})
    for prefix in crowded:
        members = np.flatnonzero(prefix_N == prefix)
        codes_N[members] = _share(_squared_distances(residual_ND[members], centroids_KD), room=room)
    return codes_N


def _share(distances_NK: Floats, *, room: int) -> Ints:
    """Codes of the items of one prefix."""
    wanted_N = distances_NK.argmin(axis=1)
    order = np.argsort(distances_NK.min(axis=1), kind="stable")
    left_K = np.full(distances_NK.shape[1], room)
    codes_N = np.full(len(distances_NK), -1)
    for item in order:
        if left_K[wanted_N[item]] > 0:
            codes_N[item] = wanted_N[item]
            left_K[wanted_N[item]] -= 1
    for item in order[codes_N[order] < 0]:
        free_NK = np.where(left_K > 0, distances_NK[item], np.inf)
        codes_N[item] = free_NK.argmin()
        left_K[codes_N[item]] -= 1
    return codes_N


def _level(codes_N: Ints, *, error: float, moved: int) -> Level:
    counts: npt.NDArray[np.float64] = np.unique(codes_N, return_counts=True)[1] / len(codes_N)
    entropy = float(-np.sum(counts * np.log2(counts)))
    return Level(error=error, codes_used=len(counts), entropy_bits=abs(entropy), moved=moved)
