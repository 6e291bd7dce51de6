"""Which steps have a loss that stands out of the recent ones, and the samples that such a step was made of.

The watch sees losses only, so every rank that is told the same losses judges the same. Nothing here stops a
training: a loss that is not finite is none of its business.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import fmean
from typing import TYPE_CHECKING, Any

from onerec.progress import write_json_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MOST_LOSSES = 128
"""Recent losses that a step is held against."""
FEWEST_LOSSES = 16
"""Losses that are needed to judge; as many spikes in a row are a new level to start from."""
SMALLEST_DEVIATION = 0.01
"""Nats; a curve that is flatter than this would call rounding a spike."""


class SpikeWatch:
    """Tells whether a loss is more than `deviations` standard deviations above the recent ones; 0: never."""

    def __init__(self, deviations: float) -> None:
        self._deviations = deviations
        self._recent: deque[float] = deque(maxlen=MOST_LOSSES)
        self._spikes: list[float] = []

    @property
    def usual(self) -> float:
        """Mean of the losses that steps are held against, in nats; NaN before the first."""
        return fmean(self._recent) if self._recent else math.nan

    def is_spike(self, loss: float) -> bool:
        """Judge the loss of a step, and remember it: as a recent one unless it is a spike or not finite."""
        if not self._deviations or not math.isfinite(loss):
            return False
        if not self._stands_out(loss):
            self._recent.append(loss)
            self._spikes.clear()
            return False
        self._spikes.append(loss)
        if len(self._spikes) == FEWEST_LOSSES:
            self._recent.clear()
            self._recent.extend(self._spikes)
            self._spikes.clear()
        return True

    def _stands_out(self, loss: float) -> bool:
        if len(self._recent) < FEWEST_LOSSES:
            return False
        usual = self.usual
        deviation = math.sqrt(fmean((recent - usual) ** 2 for recent in self._recent))
        return loss - usual > self._deviations * max(deviation, SMALLEST_DEVIATION)


def record_spike(
    output_dir: Path, *, step: int, loss: float, usual: float, packs: Sequence[dict[str, Any]]
) -> str:
    """Write which samples a spiking step was made of to spike-step<n>.json; a line about it for people.

    `packs` are those of all ranks, each with its own loss and uuids. A disk that fails costs the file, never
    the training.
    """
    path = output_dir / f"spike-step{step}.json"
    told = f"step {step}: loss {loss:.4f} stands out of the recent ones, {usual:.4f} in the mean"
    try:
        write_json_atomically(path, {"step": step, "loss": loss, "usual": usual, "packs": list(packs)})
    except OSError as fault:
        return f"{told}; its samples could not be written down: {fault}"
    return f"{told}; its samples are in {path}"
