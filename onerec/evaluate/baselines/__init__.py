"""Honest simple models, fitted to the training part of the same split and measured like every other model.

Settings that are chosen are chosen by the validation targets; nothing here reads a test target.
"""

from __future__ import annotations

from onerec.evaluate.baselines.baseline import Baseline, Float32
from onerec.evaluate.baselines.item_knn import fit_item_knn
from onerec.evaluate.baselines.popularity import fit_popularity
from onerec.evaluate.baselines.sasrec import fit_sasrec
from onerec.evaluate.histories import Histories

__all__ = ["Baseline", "Float32", "fit_baseline"]

DEFAULT_TIME_CAP_SECONDS = 600.0


def fit_baseline(
    name: str,
    histories: Histories,
    *,
    seed: int,
    exclude_history: bool = True,
    time_cap_seconds: float = DEFAULT_TIME_CAP_SECONDS,
) -> Baseline:
    """Fit the baseline called `name`: popularity, item_knn or sasrec.

    `exclude_history` is how lists will be made, so that settings are chosen for that. The time cap ends the
    training of sasrec, and `told` says so where it did. Raises ValueError for another name.
    """
    if name == "popularity":
        return fit_popularity(histories)
    if name == "item_knn":
        return fit_item_knn(histories, seed=seed, exclude_history=exclude_history)
    if name == "sasrec":
        return fit_sasrec(
            histories, seed=seed, exclude_history=exclude_history, time_cap_seconds=time_cap_seconds
        )
    raise ValueError(f"baseline {name!r} is none of popularity, item_knn, sasrec")
