"""Balanced k-means: centroids of equally large groups of vectors.

Where there are many vectors, a sample of them stands for all; who gets a code for good is decided elsewhere.

Shapes: N points, D vector width, K codes.
"""

from __future__ import annotations

import numpy as np

from onerec.build.ids.assignment import Placed, Taken, make_room, rank_within
from onerec.build.ids.clustering import SEVERAL, sample_of
from onerec.build.ids.codebook import Codebook, means_of, nearest, squared_distances
from onerec.build.interactions import Float32, Int64

MAX_PASSES = 20
MIN_GAIN = 1e-3
"""A pass that lowers the error by a smaller share is the last."""
ROUNDS = 16


def balance(points_ND: Float32, book: Codebook, *, batch_size: int, rng: np.random.Generator) -> Codebook:
    """The codebook moved so that each code is in the middle of an equal share of the points.

    Each pass gives every code its closest points up to its share, as assignment.py does, and moves it into
    their middle.
    """
    sample_ND = sample_of(points_ND, SEVERAL * batch_size, rng=rng)
    before = np.inf
    for _ in range(MAX_PASSES):
        codes_N = equal_shares(sample_ND, book, nearest(sample_ND, book)).codes_N
        error = float(squared_distances(sample_ND, book.centroids_KD, codes_N).mean(dtype=np.float64))
        if error >= before * (1 - MIN_GAIN):
            break
        before = error
        means_KD, counts_K = means_of(sample_ND, codes_N, book.size)
        means_KD[counts_K == 0] = book.centroids_KD[counts_K == 0]
        book = Codebook(means_KD, book.is_used_K)
    return book


def equal_shares(points_ND: Float32, book: Codebook, wanted_N: Int64) -> Placed:
    """Codes of which none has more than its equal share, rounded up, for points that want others.

    In rounds: each point without a code asks the nearest one that has room, and a code takes the closest of
    those who ask. Points that are left after ROUNDS are placed one by one, the closest first.
    """
    share = -(-len(points_ND) // book.size)
    left_K = np.full(book.size, share)
    codes_N = wanted_N.copy()
    waiting, asked = np.arange(len(points_ND)), wanted_N
    for _ in range(ROUNDS):
        squared = squared_distances(points_ND[waiting], book.centroids_KD, asked)
        is_taken = rank_within(asked, squared) < left_K[asked]
        codes_N[waiting[is_taken]] = asked[is_taken]
        left_K -= np.bincount(asked[is_taken], minlength=book.size)
        waiting = waiting[~is_taken]
        with_room = Codebook(book.centroids_KD, book.is_used_K & (left_K > 0))
        if len(waiting) == 0 or not with_room.is_used_K.any():
            break
        asked = nearest(points_ND[waiting], with_room)
    codes_N[waiting] = _one_by_one(points_ND, book, codes_N, waiting, share=share)
    return Placed(codes_N, codes_N != wanted_N)


def _one_by_one(points_ND: Float32, book: Codebook, codes_N: Int64, waiting: Int64, *, share: int) -> Int64:
    placed = np.delete(codes_N, waiting)
    others = Taken(np.zeros(len(placed), dtype=np.int64), placed)
    rest_ND, one_prefix = points_ND[waiting], np.zeros(len(waiting), dtype=np.int64)
    found = make_room(rest_ND, book, nearest(rest_ND, book), one_prefix, room=share, taken=others)
    return found.codes_N
