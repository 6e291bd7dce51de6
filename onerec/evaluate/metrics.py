"""Metrics of ranked lists, label predictions, and their intervals; pure, on arrays.

A rank counts from 1; 0 says that the target is not in the list. Nothing here knows a model.

Shapes: U users, S resamplings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ranks = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
CONFIDENCE = 0.95
RESAMPLINGS_AT_A_TIME = 64


@dataclass(frozen=True)
class Estimate:
    """A mean over users, with the borders of its 95 % interval; None where none was asked for."""

    value: float
    low: float | None = None
    high: float | None = None

    def document(self) -> dict[str, float | None]:
        """As JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


def recall(ranks_U: Ranks, k: int) -> Floats:
    """1 for each user whose target is among the first k, else 0: recall, or hit rate, of one target."""
    return ((ranks_U > 0) & (ranks_U <= k)).astype(np.float64)


def ndcg(ranks_U: Ranks, k: int) -> Floats:
    """1 / log2(1 + rank) for each user whose target is among the first k, else 0.

    The ideal list has the one target first, so its gain is 1 (Jarvelin and Kekalainen, TOIS 20(4), 2002).
    """
    return recall(ranks_U, k) / np.log2(1.0 + np.maximum(ranks_U, 1))


def reciprocal_rank(ranks_U: Ranks) -> Floats:
    """1 / rank for each user, 0 where the target is not in the list; their mean is MRR."""
    return np.where(ranks_U > 0, 1.0 / np.maximum(ranks_U, 1), 0.0)


def coverage(lists: Sequence[Sequence[int]], k: int, *, num_items: int) -> float:
    """Share of all items that stand among the first k of any list."""
    return len({item for items in lists for item in items[:k]}) / num_items


def area_under_curve(labels: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Chance that a positive has a higher score than a negative, equal scores counting a half.

    By the ranks of the scores (Mann and Whitney); None where all labels are alike.
    """
    is_positive = np.asarray(labels, dtype=bool)
    positives, negatives = int(is_positive.sum()), int((~is_positive).sum())
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(np.asarray(scores), return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = float(mean_ranks[inverse][is_positive].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def estimate(values_U: Floats, *, samples: int, seed: int) -> Estimate:
    """Mean and its percentile bootstrap interval over users (Efron 1979); NaN for no users.

    The resamplings depend only on the seed and the number of users, so that models measured on the same users
    are resampled alike.
    """
    if not len(values_U):
        return Estimate(float("nan"))
    mean = float(values_U.mean())
    if not samples:
        return Estimate(mean)
    means_S = np.concatenate(
        [values_U[drawn_SU].mean(axis=1) for drawn_SU in _draws(len(values_U), samples=samples, seed=seed)]
    )
    return Estimate(mean, *_interval(means_S))


def estimate_of(
    statistic: Callable[[npt.NDArray[np.int64]], float | None], count: int, *, samples: int, seed: int
) -> Estimate | None:
    """The same for what is no mean, such as an AUC: `statistic` is given the places of the users drawn.

    Resamplings on which it is not defined are left out; None where it is not defined on all users.
    """
    whole = statistic(np.arange(count))
    if whole is None:
        return None
    drawn = (statistic(row) for rows in _draws(count, samples=samples, seed=seed) for row in rows)
    found_S = np.array([value for value in drawn if value is not None])
    return Estimate(whole, *_interval(found_S)) if len(found_S) else Estimate(whole)


def _draws(count: int, *, samples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Users drawn with replacement, some resamplings at a time, (S, U) each."""
    rng = np.random.default_rng(seed)
    for start in range(0, samples, RESAMPLINGS_AT_A_TIME):
        yield rng.integers(count, size=(min(RESAMPLINGS_AT_A_TIME, samples - start), count))


def _interval(found_S: Floats) -> tuple[float, float]:
    low, high = np.quantile(found_S, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
