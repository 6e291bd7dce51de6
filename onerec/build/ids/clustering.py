"""k-means for millions of vectors: k-means++ seeds, then full or mini-batch steps, in single precision.

Who gets a code for good is decided elsewhere.

Shapes: N points, D vector width, K codes.
"""

from __future__ import annotations

import numpy as np

from onerec.build.ids.codebook import Codebook, means_of, nearest, padded, squared_distances
from onerec.build.ids.seeding import seeds
from onerec.build.interactions import Float32, Int64

MAX_PASSES = 50
MIN_GAIN = 1e-4
"""A pass that lowers the error by a smaller share is the last."""
SEVERAL = 4
"""Mini-batches are taken where there are more than so many times their size of points."""
MAX_STEPS = 50
FINAL_PASSES = 10
"""Full passes after the mini-batches; more gain less than 1 % (100,000 x 256, 256 codes)."""
SEEDING_POINTS_PER_CODE = 10


def cluster(points_ND: Float32, codes: int, *, batch_size: int, rng: np.random.Generator) -> Codebook:
    """Codes for points; with fewer points than codes the last codes are unused."""
    used = min(codes, len(points_ND))
    sample_ND = sample_of(points_ND, max(batch_size, SEEDING_POINTS_PER_CODE * used), rng=rng)
    centroids_KD = seeds(sample_ND, used, rng=rng)
    if len(points_ND) > SEVERAL * batch_size:
        centroids_KD = _mini_batches(points_ND, centroids_KD, batch_size=batch_size, rng=rng)
        centroids_KD = _passes(points_ND, centroids_KD, most=FINAL_PASSES)
    else:
        centroids_KD = _passes(points_ND, centroids_KD, most=MAX_PASSES)
    return padded(centroids_KD, codes)


def sample_of(points_ND: Float32, size: int, *, rng: np.random.Generator) -> Float32:
    """So many points without repetition, in their order; all where there are no more."""
    if size >= len(points_ND):
        return points_ND
    return points_ND[np.sort(rng.choice(len(points_ND), size, replace=False))]


def _passes(points_ND: Float32, centroids_KD: Float32, *, most: int) -> Float32:
    """Lloyd's steps over all points, until the error falls no more."""
    before = np.inf
    for _ in range(most):
        book = padded(centroids_KD, len(centroids_KD))
        codes_N = nearest(points_ND, book)
        squared_N = squared_distances(points_ND, centroids_KD, codes_N)
        error = float(squared_N.mean(dtype=np.float64))
        if error >= before * (1 - MIN_GAIN) and before < np.inf:
            break
        before = error
        centroids_KD = _moved(points_ND, codes_N, squared_N, centroids_KD)
    return centroids_KD


def _mini_batches(
    points_ND: Float32, centroids_KD: Float32, *, batch_size: int, rng: np.random.Generator
) -> Float32:
    """Steps over batches, in which a centroid is the mean of all that it has met (Sculley, WWW 2010)."""
    met_K = np.zeros(len(centroids_KD), dtype=np.int64)
    centroids_KD = centroids_KD.copy()
    for _ in range(MAX_STEPS):
        batch_ND = points_ND[np.sort(rng.integers(len(points_ND), size=batch_size))]
        codes_N = nearest(batch_ND, padded(centroids_KD, len(centroids_KD)))
        means_KD, counts_K = means_of(batch_ND, codes_N, len(centroids_KD))
        met_K += counts_K
        shares_K = (counts_K / np.maximum(met_K, 1)).astype(np.float32)
        centroids_KD += shares_K[:, None] * (means_KD - centroids_KD)
    return centroids_KD


def _moved(points_ND: Float32, codes_N: Int64, squared_N: Float32, centroids_KD: Float32) -> Float32:
    """Centroids in the middle of their points; one without points moves to one that lies farthest off."""
    means_KD, counts_K = means_of(points_ND, codes_N, len(centroids_KD))
    empty = np.flatnonzero(counts_K == 0)
    farthest = np.argsort(-squared_N, kind="stable")[: len(empty)] if len(empty) else empty
    means_KD[empty] = centroids_KD[empty]
    far = squared_N[farthest] > 0
    means_KD[empty[: len(farthest)][far]] = points_ND[farthest[far]]
    return means_KD
