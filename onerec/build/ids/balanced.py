"""Balanced k-means: centroids of equally large groups of vectors.

Where there are many vectors, a sample of them stands for all; who gets a code for good is decided elsewhere.

Shapes: N points, D vector width, K codes.
"""

from __future__ import annotations

import numpy as np

from onerec.build.ids.assignment import Placed, Taken, make_room
from onerec.build.ids.clustering import SEVERAL, sample_of
from onerec.build.ids.codebook import Codebook, means_of, nearest, squared_distances
from onerec.build.interactions import Float32, Int64

MAX_PASSES = 20
MIN_GAIN = 1e-3
"""A pass that lowers the error by a smaller share is the last."""


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
        book = Codebook(np.where(counts_K[:, None] > 0, means_KD, book.centroids_KD), counts_K > 0)
    return book


def equal_shares(points_ND: Float32, book: Codebook, wanted_N: Int64) -> Placed:
    """Codes of which none has more than its equal share, rounded up, for points that want others."""
    share = -(-len(points_ND) // book.size)
    one_prefix_N = np.zeros(len(points_ND), dtype=np.int64)
    return make_room(points_ND, book, wanted_N, one_prefix_N, room=share, taken=Taken.nothing())
