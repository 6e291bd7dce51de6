"""The learning rate of a step: linear warm-up, then a decay to a floor. A pure function."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onerec.config import Optim

WSD_DECAY_SHARE = 10
"""Without num_decay_steps, the decay of wsd takes one in so many of the steps."""


def learning_rate(step: int, optim: Optim, *, total_steps: int) -> float:
    """Rate of optimizer step `step` (from 0).

    The first of `num_warmup_steps` already has a rate above zero and the last the full one; the decay ends at
    `num_training_steps` (default: `total_steps`) and training goes on at `min_lr`.
    """
    if step < optim.num_warmup_steps:
        return optim.learning_rate * (step + 1) / optim.num_warmup_steps
    if optim.lr_scheduler_type == "constant":
        return optim.learning_rate
    decay_end = optim.num_training_steps or total_steps
    decay_start = _decay_start(optim, decay_end)
    if step >= decay_end:
        return optim.min_lr
    if step < decay_start:
        return optim.learning_rate
    passed = (step - decay_start) / (decay_end - decay_start)
    is_cosine = optim.lr_scheduler_type == "cosine"
    remaining = 0.5 * (1.0 + math.cos(math.pi * passed)) if is_cosine else 1.0 - passed
    return optim.min_lr + (optim.learning_rate - optim.min_lr) * remaining


def _decay_start(optim: Optim, decay_end: int) -> int:
    """Step at which the decay begins: where the warm-up ends, or later with wsd."""
    if optim.lr_scheduler_type != "wsd":
        return optim.num_warmup_steps
    decay_steps = optim.num_decay_steps or max(1, decay_end // WSD_DECAY_SHARE)
    return max(optim.num_warmup_steps, decay_end - decay_steps)
