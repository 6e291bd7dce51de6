"""k-means for millions of vectors: k-means++ seeds, then full or mini-batch steps, in single precision.

Only a chunk of distances exists at a time. A code's price is added to the squared distance to it: balanced
clustering makes crowded codes dear, and a code that no vector has is so dear that none wants it.

Shapes: N points, D vector width, K codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from onerec.build.interactions import Float32, Int64

CHUNK_DISTANCES = 1_000_000
"""Distances that exist at one time: 4 MB, which caches hold."""
MAX_PASSES = 50
MIN_GAIN = 1e-4
"""A pass that lowers the error by a smaller share is the last."""
SEVERAL = 4
"""Mini-batches are taken where there are more than so many times their size of points."""
MAX_STEPS = 100
FINAL_PASSES = 3
SEEDS_OF_A_ROUND = 256
"""k-means++ draws one seed at a time; of more codes than these so many rounds draw several at once."""
SEEDING_POINTS_PER_CODE = 10
UNUSED = np.float32(1e30)
"""Price of a code that no point has."""


@dataclass(frozen=True)
class Codebook:
    """The codes of one level."""

    centroids_KD: Float32
    prices_K: Float32
    """Added to squared distances."""

    @property
    def bias(self) -> Float32:
        """What a code adds to minus twice the product of point and centroid."""
        return np.asarray(np.einsum("kd,kd->k", self.centroids_KD, self.centroids_KD) + self.prices_K)


def cluster(
    points_ND: Float32, codes: int, *, balanced: bool, batch_size: int, rng: np.random.Generator
) -> Codebook:
    """Codes for points; with fewer points than codes the last codes are unused."""
    used = min(codes, len(points_ND))
    sample_ND = _sample(points_ND, max(batch_size, SEEDING_POINTS_PER_CODE * used), rng=rng)
    centroids_KD = seeds(sample_ND, used, rng=rng)
    if len(points_ND) > SEVERAL * batch_size:
        centroids_KD = _mini_batches(points_ND, centroids_KD, batch_size=batch_size, rng=rng)
        centroids_KD = _passes(points_ND, centroids_KD, most=FINAL_PASSES)
    else:
        centroids_KD = _passes(points_ND, centroids_KD, most=MAX_PASSES)
    return padded(centroids_KD, codes)


def padded(centroids_KD: Float32, codes: int) -> Codebook:
    """A codebook of `codes` codes, of which the last are unused."""
    used, width = centroids_KD.shape
    centroids = np.zeros((codes, width), dtype=np.float32)
    centroids[:used] = centroids_KD
    prices_K = np.zeros(codes, dtype=np.float32)
    prices_K[used:] = UNUSED
    return Codebook(centroids, prices_K)


def nearest(points_ND: Float32, book: Codebook) -> Int64:
    """The nearest code of each point, prices included, (N,)."""
    codes_N = np.empty(len(points_ND), dtype=np.int64)
    for part in chunks(len(points_ND), len(book.prices_K)):
        codes_N[part] = scores(points_ND[part], book).argmin(axis=1)
    return codes_N


def scores(points_ND: Float32, book: Codebook) -> Float32:
    """Squared distances and prices, less the points' own squared lengths, (N, K)."""
    found_NK = torch.addmm(
        torch.from_numpy(book.bias),
        torch.from_numpy(points_ND),
        torch.from_numpy(book.centroids_KD).T,
        alpha=-2,
    )
    return np.asarray(found_NK.numpy())


def squared_distances(points_ND: Float32, centroids_KD: Float32, codes_N: Int64) -> Float32:
    """Squared distance of each point to the centroid of its own code, (N,)."""
    squared_N = np.empty(len(points_ND), dtype=np.float32)
    for part in chunks(len(points_ND), points_ND.shape[1]):
        left = points_ND[part] - centroids_KD[codes_N[part]]
        squared_N[part] = np.einsum("nd,nd->n", left, left)
    return squared_N


def chunks(points: int, width: int) -> list[slice]:
    """Parts of the points such that part x width stays below CHUNK_DISTANCES."""
    step = max(1, CHUNK_DISTANCES // max(1, width))
    return [slice(start, min(start + step, points)) for start in range(0, points, step)]


def seeds(points_ND: Float32, count: int, *, rng: np.random.Generator) -> Float32:
    """k-means++: each next centroid is a point, likelier the farther it lies from those before, (count, D).

    Arthur and Vassilvitskii, SODA 2007. More than SEEDS_OF_A_ROUND centroids are drawn several at once, as in
    Bahmani et al., VLDB 5(7), 2012.
    """
    at_once = -(-count // SEEDS_OF_A_ROUND)
    chosen = [int(rng.integers(len(points_ND)))]
    closest_N = np.full(len(points_ND), np.inf, dtype=np.float32)
    new = chosen
    while len(chosen) < count:
        closest_N = np.minimum(closest_N, _closest(points_ND, points_ND[new]))
        weights_N = np.cumsum(closest_N, dtype=np.float64)
        drawn = rng.random(min(at_once, count - len(chosen))) * weights_N[-1]
        # all points are centroids: the last one once more
        new = np.minimum(np.searchsorted(weights_N, drawn, side="right"), len(points_ND) - 1).tolist()
        chosen += new
    return points_ND[chosen]


def _closest(points_ND: Float32, centroids_KD: Float32) -> Float32:
    """Squared distance of each point to the nearest centroid; exactly 0 for a point that is one."""
    if len(centroids_KD) == 1:
        return squared_distances(points_ND, centroids_KD, np.zeros(len(points_ND), dtype=np.int64))
    codes_N = nearest(points_ND, padded(centroids_KD, len(centroids_KD)))
    return squared_distances(points_ND, centroids_KD, codes_N)


def _sample(points_ND: Float32, size: int, *, rng: np.random.Generator) -> Float32:
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


def means_of(points_ND: Float32, codes_N: Int64, codes: int) -> tuple[Float32, Int64]:
    """Mean of each code's points, (K, D), zero for one without, and how many these are, (K,)."""
    total_KD = torch.zeros(codes, points_ND.shape[1])
    total_KD.index_add_(0, torch.from_numpy(codes_N), torch.from_numpy(points_ND))
    counts_K = np.bincount(codes_N, minlength=codes)
    total_KD /= torch.from_numpy(np.maximum(counts_K, 1))[:, None]
    return np.asarray(total_KD.numpy()), counts_K


def _moved(points_ND: Float32, codes_N: Int64, squared_N: Float32, centroids_KD: Float32) -> Float32:
    """Centroids in the middle of their points; one without points moves to one that lies farthest off."""
    means_KD, counts_K = means_of(points_ND, codes_N, len(centroids_KD))
    empty = np.flatnonzero(counts_K == 0)
    farthest = np.argsort(-squared_N, kind="stable")[: len(empty)] if len(empty) else empty
    means_KD[empty] = centroids_KD[empty]
    far = squared_N[farthest] > 0
    means_KD[empty[: len(farthest)][far]] = points_ND[farthest[far]]
    return means_KD
