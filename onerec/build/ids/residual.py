"""Residual k-means: level by level the vectors are clustered and the centroid taken off.

The codes met on the way are the id. How codes are found is in clustering.py, who gets which in assignment.py.

Shapes: N items, D vector width, K codes, L levels, M items that have ids already.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onerec.build.ids.assignment import Placed, Taken, make_room
from onerec.build.ids.balanced import balance, equal_shares
from onerec.build.ids.clustering import cluster
from onerec.build.ids.codebook import Codebook, chunks, means_of, nearest
from onerec.build.ids.threads import threads_apart
from onerec.build.interactions import Float32, Int64
from onerec.errors import ConfigError

Mask = npt.NDArray[np.bool_]
BookOfLevel = Callable[[int, Float32], Codebook]
"""The codebook of a level, for what is left of the vectors there."""


@dataclass(frozen=True)
class Coded:
    """Ids and what came of them."""

    codes_NL: Int64
    books: tuple[Codebook, ...]
    rebuilt_ND: Float32
    """Sums of the centroids of each id."""
    errors: tuple[float, ...]
    """Of each level: mean squared length of what is left, as a share of that of the vectors."""
    moved: tuple[int, ...]
    """Of each level: items that did not get the code nearest to them."""
    collisions: int
    """Items that had the id of another, closer item before they were moved."""


def residual_kmeans(
    vectors_ND: Float32, *, levels: int, codes: int, balanced: bool, batch_size: int, rng: np.random.Generator
) -> Coded:
    """Ids of `levels` codes below `codes`, no two alike; raises ConfigError for more items than ids."""

    def book(_: int, residual_ND: Float32) -> Codebook:
        found = cluster(residual_ND, codes, batch_size=batch_size, rng=rng)
        return balance(residual_ND, found, batch_size=batch_size, rng=rng) if balanced else found

    with threads_apart():
        return coded(vectors_ND, book, levels=levels, codes=codes, balanced=balanced)


def coded(
    vectors_ND: Float32,
    book_of: BookOfLevel,
    *,
    levels: int,
    codes: int,
    balanced: bool = False,
    taken_ML: Int64 | None = None,
) -> Coded:
    """Ids by the codebooks of each level, none of which is taken; raises ConfigError for too many items.

    With `balanced` no code of a level is wanted by more than its equal share of the items, rounded up.
    """
    taken_ML = np.zeros((0, levels), dtype=np.int64) if taken_ML is None else taken_ML
    check_fit(len(vectors_ND) + len(taken_ML), levels=levels, codes=codes)
    residual_ND, power = vectors_ND.astype(np.float32), mean_square(vectors_ND)
    prefix = np.zeros(len(vectors_ND) + len(taken_ML), dtype=np.int64)
    chosen, books, errors, moved, collisions = [], [], [], [], 0
    for level in range(levels):
        book = book_of(level, residual_ND)
        taken = Taken(prefix[len(vectors_ND) :], taken_ML[:, level])
        room = min(codes ** (levels - 1 - level), len(prefix))
        placed, shared = _placed(residual_ND, book, prefix, taken, room=room, balanced=balanced)
        take_off(residual_ND, book, placed.codes_N)
        errors.append(mean_square(residual_ND) / power if power else 0.0)
        moved.append(int((placed.is_moved_N | shared).sum()))
        collisions = int(placed.is_moved_N.sum())
        chosen.append(placed.codes_N)
        books.append(book)
        both = np.concatenate([placed.codes_N, taken.codes_M])
        prefix = np.unique(prefix * codes + both, return_inverse=True)[1]
    rebuilt_ND = np.subtract(vectors_ND, residual_ND, out=residual_ND)
    return Coded(np.stack(chosen, axis=1), tuple(books), rebuilt_ND, tuple(errors), tuple(moved), collisions)


def books_of_ids(vectors_ND: Float32, codes_NL: Int64, *, codes: int) -> Coded:
    """Codebooks of ids that are given: a centroid is the mean of what is left of the items with its code."""
    residual_ND, power = vectors_ND.astype(np.float32), mean_square(vectors_ND)
    books, errors = [], []
    for codes_N in codes_NL.T:
        means_KD, counts_K = means_of(residual_ND, codes_N, codes)
        books.append(Codebook(means_KD, counts_K > 0))
        take_off(residual_ND, books[-1], codes_N)
        errors.append(mean_square(residual_ND) / power if power else 0.0)
    rebuilt_ND = np.subtract(vectors_ND, residual_ND, out=residual_ND)
    return Coded(codes_NL, tuple(books), rebuilt_ND, tuple(errors), (0,) * len(books), 0)


def check_fit(items: int, *, levels: int, codes: int) -> None:
    """Raise ConfigError when there are more items than ids."""
    if items > codes**levels:
        raise ConfigError(
            f"{items:,} items do not fit into {levels} levels of {codes} codes ({codes**levels:,} ids); "
            "raise vocab.vocab_size_per_layer or vocab.itemic_layer_n"
        )


def take_off(residual_ND: Float32, book: Codebook, codes_N: Int64) -> None:
    """Subtract each item's centroid in place."""
    for part in chunks(len(residual_ND), residual_ND.shape[1]):
        residual_ND[part] -= book.centroids_KD[codes_N[part]]


def mean_square(points_ND: Float32) -> float:
    """Mean squared length; 0 of no points."""
    parts = chunks(len(points_ND), points_ND.shape[1])
    total = sum(float(np.square(points_ND[part], dtype=np.float64).sum()) for part in parts)
    return total / max(1, len(points_ND))


def _placed(
    residual_ND: Float32, book: Codebook, prefix: Int64, taken: Taken, *, room: int, balanced: bool
) -> tuple[Placed, Mask]:
    """Codes, and which items were moved for an equal share already."""
    wanted_N, is_moved_N = nearest(residual_ND, book), np.zeros(len(residual_ND), dtype=bool)
    if balanced:
        shared = equal_shares(residual_ND, book, wanted_N)
        wanted_N, is_moved_N = shared.codes_N, shared.is_moved_N
    prefix_N = prefix[: len(residual_ND)]
    return make_room(residual_ND, book, wanted_N, prefix_N, room=room, taken=taken), is_moved_N
