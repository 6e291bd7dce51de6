"""The codes of one level, which of them is nearest to a vector, and the mean of each code's vectors.

Only a chunk of distances exists at a time. Codes that no vector has are so far off that none wants them.

Shapes: N points, D vector width, K codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from onerec.build.ids.threads import each
from onerec.build.interactions import Float32, Int64

CHUNK_DISTANCES = 1_000_000
"""Distances that exist at one time: 4 MB, which caches hold."""
FAR_OFF = np.float32(1e30)
"""Squared distance to a code that is not used."""


@dataclass(frozen=True)
class Codebook:
    """The codes of one level."""

    centroids_KD: Float32
    is_used_K: npt.NDArray[np.bool_]

    @property
    def size(self) -> int:
        """K."""
        return len(self.centroids_KD)

    @property
    def bias(self) -> Float32:
        """What a code adds to minus twice the product of point and centroid."""
        return np.asarray(np.where(self.is_used_K, np.sum(self.centroids_KD**2, axis=1), FAR_OFF))


def padded(centroids_KD: Float32, codes: int) -> Codebook:
    """A codebook of `codes` codes, of which the last are unused."""
    used, width = centroids_KD.shape
    centroids = np.zeros((codes, width), dtype=np.float32)
    centroids[:used] = centroids_KD
    return Codebook(centroids, np.arange(codes) < used)


def nearest(points_ND: Float32, book: Codebook) -> Int64:
    """The nearest code of each point, (N,)."""
    codes_N = np.empty(len(points_ND), dtype=np.int64)

    def look(part: slice) -> None:
        codes_N[part] = scores(points_ND[part], book).argmin(axis=1)

    each(look, chunks(len(points_ND), book.size))
    return codes_N


def scores(points_ND: Float32, book: Codebook) -> Float32:
    """Squared distances, less the points' own squared lengths, (N, K)."""
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

    def measure(part: slice) -> None:
        left = points_ND[part] - centroids_KD[codes_N[part]]
        squared_N[part] = np.einsum("nd,nd->n", left, left)

    each(measure, chunks(len(points_ND), points_ND.shape[1]))
    return squared_N


def means_of(points_ND: Float32, codes_N: Int64, codes: int) -> tuple[Float32, Int64]:
    """Mean of each code's points, (K, D), zero for one without, and how many these are, (K,)."""
    total_KD = torch.zeros(codes, points_ND.shape[1])
    total_KD.index_add_(0, torch.from_numpy(codes_N), torch.from_numpy(points_ND))
    counts_K = np.bincount(codes_N, minlength=codes)
    total_KD /= torch.from_numpy(np.maximum(counts_K, 1))[:, None]
    return np.asarray(total_KD.numpy()), counts_K


def chunks(points: int, width: int) -> list[slice]:
    """Parts of the points such that part x width stays below CHUNK_DISTANCES."""
    step = max(1, CHUNK_DISTANCES // max(1, width))
    return [slice(start, min(start + step, points)) for start in range(0, points, step)]
