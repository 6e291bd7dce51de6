"""First centroids by k-means++: points that lie far from each other, drawn by chance.

Nothing here moves a centroid.

Shapes: N points, D vector width, K centroids.
"""

from __future__ import annotations

import numpy as np

from onerec.build.ids.codebook import nearest, padded, squared_distances
from onerec.build.interactions import Float32

ROUNDS = 256
"""Of more centroids than these, so many rounds draw several at once."""


def seeds(points_ND: Float32, count: int, *, rng: np.random.Generator) -> Float32:
    """k-means++: each next centroid is a point, likelier the farther it lies from those before, (count, D).

    Arthur and Vassilvitskii, SODA 2007. More than ROUNDS centroids are drawn several at once, as in
    Bahmani et al., VLDB 5(7), 2012.
    """
    at_once = -(-count // ROUNDS)
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
