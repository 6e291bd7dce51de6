"""Which checkpoints may go, and what interrupted saves leave behind; never the only one, nor the best."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onerec.checkpoint import commit
from onerec.checkpoint.best import read_best
from onerec.checkpoint.crash_points import reach

if TYPE_CHECKING:
    from pathlib import Path

LEFTOVERS = ("step*.tmp-*", ".trash-step*")
"""Patterns of what interrupted saves and prunings leave in a stage's folder."""


@dataclass(frozen=True)
class Retention:
    """Which checkpoints of a stage stay."""

    keep: int
    """How many of the newest stay; at least 1."""
    keep_every: int | None = None
    """Besides those, every checkpoint whose step is a multiple of this stays."""

    def expendable(self, steps: list[int]) -> list[int]:
        """Of the complete steps, in increasing order, those that need not stay."""
        return [step for step in steps[: -self.keep] if not (self.keep_every and step % self.keep_every == 0)]


def prune(stage_dir: Path, retention: Retention) -> list[int]:
    """Remove what need not stay and nobody has converted or is converting; returns the steps removed.

    The checkpoint that best.json names stays.
    """
    steps = commit.complete_steps(stage_dir)
    best = read_best(stage_dir)
    if steps:
        reach("before prune", step=steps[-1])
    removed = [
        step
        for step in retention.expendable(steps)
        if (best is None or step != best.step) and not is_in_use(commit.step_dir(stage_dir, step))
    ]
    for step in removed:
        trash = stage_dir / f".trash-step{step}"
        commit.step_dir(stage_dir, step).rename(trash)
        # a reader on another host may keep a file busy; what stays is tried again at the next start
        shutil.rmtree(trash, ignore_errors=True)
    return removed


def is_in_use(checkpoint: Path) -> bool:
    """Whether somebody has converted the checkpoint, or is at it."""
    return any(commit.data_dir(checkpoint).glob("*converted*"))


def remove_leftovers(stage_dir: Path) -> None:
    """Remove what interrupted saves and prunings left behind."""
    for pattern in LEFTOVERS:
        for path in stage_dir.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)
