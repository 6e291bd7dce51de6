"""Losses of one step or evaluation by source and by kind of target, and their means over all ranks.

S sources; the second dimension is the kind of target: 0 text, 1 itemic. N trained positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from collections.abc import Sequence

ITEMIC, TEXT = 1, 0


class LossTable:
    """Sums of this rank's losses in fp64, and the trained tokens they are of; nothing is synchronised."""

    def __init__(self, num_sources: int, *, device: torch.device) -> None:
        self.losses_S2 = torch.zeros((num_sources, 2), dtype=torch.float64, device=device)
        self.counts_S2 = torch.zeros((num_sources, 2), dtype=torch.int64)

    def add(self, losses_N: torch.Tensor, cells_N: torch.Tensor) -> None:
        """Add the losses of one pack; `cells_N`, on the CPU, is 2 x source + kind of each position."""
        losses, counts = self.losses_S2.view(-1), self.counts_S2.view(-1)
        counts += torch.bincount(cells_N, minlength=len(counts))
        losses_N = losses_N.double()
        if losses.device.type == "cpu":  # many times quicker there than index_add_
            losses += torch.bincount(cells_N, weights=losses_N, minlength=len(counts))
        else:
            losses.index_add_(0, cells_N.to(losses.device, non_blocking=True), losses_N)


@dataclass(frozen=True)
class Losses:
    """Mean losses over all ranks, in nats per trained token; None where nothing was trained."""

    loss: float
    itemic: float | None
    text: float | None
    by_source: dict[str, float]
    trained_tokens: int


def mean_losses(table: LossTable, *, sources: Sequence[str]) -> Losses:
    """Add the tables of all ranks up; all ranks call it together."""
    cells_2S2 = torch.stack([table.losses_S2.cpu(), table.counts_S2.double()])
    dist.all_reduce(cells_2S2)
    losses_S2, counts_S2 = cells_2S2
    text, itemic = (_mean(losses_S2[:, kind].sum(), counts_S2[:, kind].sum()) for kind in (TEXT, ITEMIC))
    means = {source: _mean(losses_S2[i].sum(), counts_S2[i].sum()) for i, source in enumerate(sources)}
    return Losses(
        _mean(losses_S2.sum(), counts_S2.sum()) or 0.0,
        itemic=itemic,
        text=text,
        by_source={source: mean for source, mean in means.items() if mean is not None},
        trained_tokens=int(counts_S2.sum()),
    )


def _mean(total: torch.Tensor, number: torch.Tensor) -> float | None:
    return float(total / number) if number > 0 else None
