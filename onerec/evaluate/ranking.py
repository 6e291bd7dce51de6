"""What ranked lists of one model come to: a row of the table, its segments, and how far it is from another.

Every model is measured here in the same way, whatever made its lists. Pure.

Shapes: U users.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from onerec.config.evaluation import Evaluation
from onerec.evaluate import metrics
from onerec.evaluate.metrics import Estimate, Floats, Ranks
from onerec.evaluate.segments import Segment

HEADLINE_K = 10
"""Length of list by which models are compared, where top_k has it; else the largest below, or the first."""


@dataclass(frozen=True)
class Ranked:
    """The lists of one model for all questions, in the order of the questions."""

    model: str
    is_baseline: bool
    lists: list[list[int]]
    ranks_U: Ranks
    """Place of the target in each list, from 1; 0 where it is not in it."""
    seconds: float
    remarks: tuple[str, ...] = ()


def ranked(
    model: str,
    lists: list[list[int]],
    targets: Sequence[int],
    *,
    is_baseline: bool,
    seconds: float,
    remarks: Sequence[str] = (),
) -> Ranked:
    """Lists with the ranks of the targets in them."""
    ranks = [
        items.index(target) + 1 if target in items else 0
        for items, target in zip(lists, targets, strict=True)
    ]
    return Ranked(
        model=model,
        is_baseline=is_baseline,
        lists=lists,
        ranks_U=np.array(ranks, dtype=np.int64),
        seconds=seconds,
        remarks=tuple(remarks),
    )


def per_user(settings: Evaluation) -> dict[str, Callable[[Ranks], Floats]]:
    """The metrics that are means over users, by name."""
    found: dict[str, Callable[[Ranks], Floats]] = {}
    for k in settings.top_k:
        found[f"recall@{k}"] = partial(metrics.recall, k=k)
        found[f"ndcg@{k}"] = partial(metrics.ndcg, k=k)
    found["mrr"] = metrics.reciprocal_rank
    return found


def row_of(result: Ranked, *, settings: Evaluation, num_items: int, seed: int) -> dict[str, Any]:
    """The model's row of the table: estimates by metric, as JSON."""
    row: dict[str, Any] = {"model": result.model, "is_baseline": result.is_baseline}
    for name, metric in per_user(settings).items():
        values = metric(result.ranks_U)
        row[name] = metrics.estimate(values, samples=settings.bootstrap_samples, seed=seed).document()
    for k in settings.top_k:
        row[f"coverage@{k}"] = Estimate(metrics.coverage(result.lists, k, num_items=num_items)).document()
    row["seconds"] = result.seconds
    return row


def difference(
    result: Ranked, reference: Ranked, *, settings: Evaluation, seed: int
) -> dict[str, dict[str, float | None]]:
    """Reference minus this model, user by user: an interval that holds 0 is no proof of a difference."""
    return {
        name: metrics.estimate(
            metric(reference.ranks_U) - metric(result.ranks_U),
            samples=settings.bootstrap_samples,
            seed=seed,
        ).document()
        for name, metric in per_user(settings).items()
    }


def segment_rows(
    results: Sequence[Ranked], segments: Sequence[Segment], *, settings: Evaluation, seed: int
) -> list[dict[str, Any]]:
    """The headline metrics of every model on every segment."""
    k = headline_k(settings)
    return [
        {
            "by": segment.by,
            "segment": segment.name,
            "users": int(segment.is_in_U.sum()),
            "model": result.model,
            "is_baseline": result.is_baseline,
            **{
                name: metrics.estimate(
                    metric(result.ranks_U[segment.is_in_U], k),
                    samples=settings.bootstrap_samples,
                    seed=seed,
                ).document()
                for name, metric in ((f"recall@{k}", metrics.recall), (f"ndcg@{k}", metrics.ndcg))
            },
        }
        for segment in segments
        for result in results
    ]


def headline_k(settings: Evaluation) -> int:
    """The length of list by which models are compared."""
    below = [k for k in settings.top_k if k <= HEADLINE_K]
    return max(below) if below else settings.top_k[0]


def best_items(
    scores_BN: npt.NDArray[Any], excluded: Sequence[Sequence[int]] | None, *, most: int
) -> list[list[int]]:
    """The items with the highest scores, best first, equal ones by their number; excluded ones never."""
    scores_BN = np.array(scores_BN, dtype=np.float64)
    if excluded is not None:
        for row_N, items in zip(scores_BN, excluded, strict=True):
            row_N[list(items)] = -np.inf
    lists = []
    for row_N in scores_BN:
        order_N = np.argsort(-row_N, kind="stable")[:most]
        lists.append(order_N[row_N[order_N] > -np.inf].tolist())
    return lists
