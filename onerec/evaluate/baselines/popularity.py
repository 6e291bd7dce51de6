"""The popularity model: an item scores by the number of its training events, whoever is asked.

Shapes: B histories, N items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onerec.evaluate.baselines.baseline import Float32
from onerec.evaluate.histories import Histories, Int32


@dataclass(frozen=True)
class Popularity:
    """Training events of each item."""

    events_N: Float32
    told: tuple[str, ...]

    def scores(self, histories: Sequence[Int32]) -> Float32:
        """The same scores for each history, (B, N)."""
        return np.repeat(self.events_N[None, :], len(histories), axis=0)


def fit_popularity(histories: Histories) -> Popularity:
    """Count training events."""
    trained = histories.items_E[histories.is_trained]
    counts_N = np.bincount(trained, minlength=histories.num_items).astype(np.float32)
    return Popularity(counts_N, (f"popularity: {len(trained):,} training events counted",))
