"""Statistics that a good shuffle has to keep, with the bounds that chance leaves them.

The bounds are five standard deviations of a uniformly random order of as many independent units; a shuffle of
blocks has as many units as blocks.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

FILES = 20
DEVIATIONS = 5


def faults(order, *, units: int | None = None, groups: int = 1) -> list[str]:
    """Which statistics of an order of 0 to n - 1 no good shuffle would have; empty for a good one.

    `units` are what was shuffled independently (default: every number), `groups` how many apart.
    """
    order = np.asarray(order, dtype=np.int64)
    count = len(order)
    bound = DEVIATIONS / sqrt(units or count)
    places = np.argsort(order) / count
    each_file = np.array_split(places, FILES)
    neighbours = np.count_nonzero(np.abs(np.diff(order)) == 1)
    wrong = {
        "displacement": abs(np.abs(places - np.arange(count) / count).mean() - 1 / 3) > sqrt(1 / 18) * bound,
        "correlation": abs(np.corrcoef(places, np.arange(count))[0, 1]) > bound,
        "neighbours": neighbours > 2 * groups + DEVIATIONS * sqrt(2 * groups),
        "files": max(abs(file.mean() - 1 / 2) for file in each_file) > sqrt(FILES / 12) * bound,
        "spread": max(abs(file.std() - sqrt(1 / 12)) for file in each_file) > sqrt(FILES / 60) * bound,
    }
    return [name for name, is_wrong in wrong.items() if is_wrong]
