"""First centroids by greedy k-means++: points that lie far from each other, drawn by chance.

Nothing here moves a centroid.

Shapes: N points, D vector width, K centroids, C candidates.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from onerec.build.interactions import Float32, Int64

ROUNDING = np.float32(1e-6)
"""Squared distances below this share of the squared lengths are those of equal points."""


def seeds(points_ND: Float32, count: int, *, rng: np.random.Generator) -> Float32:
    """Centroids that are points, (count, D): each next is the best of a few, drawn by squared distance.

    k-means++ (Arthur and Vassilvitskii, SODA 2007) in its greedy form: of 2 + log(count) candidates the one
    that leaves the smallest error is taken.
    """
    candidates = 2 + int(math.log(count))
    squares_N = np.einsum("nd,nd->n", points_ND, points_ND)
    chosen = [int(rng.integers(len(points_ND)))]
    closest_N = _squared(points_ND, squares_N, np.array(chosen))[:, 0]
    while len(chosen) < count:
        weights_N = np.cumsum(closest_N, dtype=np.float64)
        drawn = rng.random(candidates) * weights_N[-1]
        # all points are centroids: the last one once more
        drawn_C = np.minimum(np.searchsorted(weights_N, drawn, side="right"), len(points_ND) - 1)
        left_NC = np.minimum(closest_N[:, None], _squared(points_ND, squares_N, drawn_C))
        best = int(left_NC.sum(axis=0, dtype=np.float64).argmin())
        chosen.append(int(drawn_C[best]))
        closest_N = left_NC[:, best].copy()
    return points_ND[chosen]


def _squared(points_ND: Float32, squares_N: Float32, chosen_C: Int64) -> Float32:
    """Squared distances to some of the points, (N, C)."""
    products_NC = torch.from_numpy(points_ND) @ torch.from_numpy(points_ND[chosen_C]).T
    sums_NC = squares_N[:, None] + squares_N[chosen_C]
    found_NC = sums_NC - 2 * products_NC.numpy()
    return np.asarray(np.where(found_NC > ROUNDING * sums_NC, found_NC, np.float32(0)))
