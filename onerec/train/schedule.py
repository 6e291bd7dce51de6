"""The learning rate of a step: linear warm-up, then a decay to a floor. A pure function."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onerec.config import Optim


def learning_rate(step: int, optim: Optim, *, total_steps: int) -> float:
    """Rate of optimizer step `step` (from 0).

    The first of `num_warmup_steps` already has a rate above zero and the last the full one; the decay ends at
    `num_training_steps` (default: `total_steps`) and training goes on at `min_lr`.
    """
    decay_end = optim.num_training_steps or total_steps
    if step < optim.num_warmup_steps:
        return optim.learning_rate * (step + 1) / optim.num_warmup_steps
    if optim.lr_scheduler_type == "constant":
        return optim.learning_rate
    span = max(1, decay_end - optim.num_warmup_steps)
    passed = min(1.0, (step - optim.num_warmup_steps) / span)
    remaining = (
        1.0 - passed if optim.lr_scheduler_type == "linear" else 0.5 * (1.0 + math.cos(math.pi * passed))
    )
    return optim.min_lr + (optim.learning_rate - optim.min_lr) * remaining
