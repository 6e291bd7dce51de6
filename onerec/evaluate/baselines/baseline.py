"""What every baseline is, and how settings are chosen: by recall and NDCG of validation targets.

Shapes: B histories, N items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from onerec.evaluate import metrics
from onerec.evaluate.histories import Histories, Int32, Int64

Float32 = npt.NDArray[np.float32]

CHOSEN_AT = 10
"""Length of the lists by which settings are chosen."""
MAX_QUESTIONS = 4000
"""Validation targets by which settings are chosen; more only cost time."""
QUESTIONS_AT_A_TIME = 256


class Baseline(Protocol):
    """A fitted model."""

    @property
    def told(self) -> tuple[str, ...]:
        """What was chosen and what bit, in lines for people."""

    def scores(self, histories: Sequence[Int32]) -> Float32:
        """Score of every item as the next one after each history, (B, N); seen items are not left out."""


@dataclass(frozen=True)
class Questions:
    """Histories and the item that followed each."""

    histories: list[Int32]
    targets_B: Int64
    exclude_history: bool

    @classmethod
    def of_validation(cls, histories: Histories, *, seed: int, exclude_history: bool) -> Questions:
        """All validation targets, or MAX_QUESTIONS of them drawn by the seed."""
        before, targets_B = histories.before("validation"), histories.targets("validation")
        chosen = np.arange(len(targets_B))
        if len(targets_B) > MAX_QUESTIONS:
            drawn = np.random.default_rng(seed).choice(len(targets_B), MAX_QUESTIONS, replace=False)
            chosen = np.sort(drawn)
        return cls([before[place] for place in chosen], targets_B[chosen], exclude_history)

    def __len__(self) -> int:
        return len(self.histories)


@dataclass(frozen=True)
class Quality:
    """Means over questions, of lists of CHOSEN_AT."""

    recall: float
    ndcg: float


def quality(model: Baseline, questions: Questions) -> Quality:
    """How well a model answers; zeros where nothing is asked."""
    ranks = [
        _ranks(model.scores(questions.histories[part]), questions, part)
        for start in range(0, len(questions), QUESTIONS_AT_A_TIME)
        for part in [slice(start, start + QUESTIONS_AT_A_TIME)]
    ]
    ranks_B = np.concatenate([*ranks, np.empty(0, dtype=np.int64)])
    if not len(ranks_B):
        return Quality(0.0, 0.0)
    return Quality(
        float(metrics.recall(ranks_B, CHOSEN_AT).mean()), float(metrics.ndcg(ranks_B, CHOSEN_AT).mean())
    )


def _ranks(scores_BN: Float32, questions: Questions, part: slice) -> Int64:
    """Place of each target in its list, from 1; of equal scores the lower item number stands first.

    What is left out of the list has the place 0.
    """
    scores_BN = scores_BN.copy()
    if questions.exclude_history:
        for row_N, history in zip(scores_BN, questions.histories[part], strict=True):
            row_N[history] = -np.inf
    targets_B = questions.targets_B[part, None]
    of_target_B1 = np.take_along_axis(scores_BN, targets_B, axis=1)
    is_lower_number = np.arange(scores_BN.shape[1])[None, :] < targets_B
    ahead_BN = (scores_BN > of_target_B1) | ((scores_BN == of_target_B1) & is_lower_number)
    return np.where(np.isneginf(of_target_B1[:, 0]), 0, ahead_BN.sum(axis=1) + 1)
