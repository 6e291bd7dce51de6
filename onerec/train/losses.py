"""Losses of one step or evaluation by source and by kind of target, and their means over all ranks.

S sources; the second dimension is the kind of target: 0 text, 1 itemic. N trained positions. Adding never
waits for a device; only the means do, in one reduction.
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

    def add(self, losses_N: torch.Tensor, cells_N: torch.Tensor, trained_S2: torch.Tensor) -> None:
        """Add the losses of one pack; `cells_N` and `trained_S2` are those of the pack.

        `cells_N` may be on the table's device already; `trained_S2` is on the CPU.
        """
        self.counts_S2 += trained_S2
        cells_N = cells_N.to(self.losses_S2.device, non_blocking=True)
        self.losses_S2.view(-1).index_add_(0, cells_N, losses_N.double())


@dataclass(frozen=True)
class Losses:
    """Mean losses over all ranks, in nats per trained token; None where nothing was trained."""

    loss: float
    itemic: float | None
    text: float | None
    by_source: dict[str, float]
    trained_tokens: int


class SourceCounts:
    """Tokens and samples read so far, by source, over all ranks: a running total that checkpoints carry."""

    def __init__(self, sources: Sequence[str], *, saved: dict[str, list[int]] | None = None) -> None:
        self._sources = tuple(sources)
        known = saved or {}
        self._total_S2 = torch.tensor([known.get(source, [0, 0]) for source in sources], dtype=torch.int64)
        self.fresh_S2 = torch.zeros_like(self._total_S2)
        """What this rank read since the last reduction."""

    def add(self, read_S2: torch.Tensor) -> None:
        """Count one pack of this rank."""
        self.fresh_S2 += read_S2

    def settle(self, fresh_S2: torch.Tensor) -> None:
        """Take what all ranks read since the last reduction into the total."""
        self._total_S2 += fresh_S2.long()
        self.fresh_S2.zero_()

    def totals(self) -> dict[str, list[int]]:
        """Totals over all ranks as of the last reduction, `{source: [tokens, samples]}`."""
        return dict(zip(self._sources, self._total_S2.tolist(), strict=True))

    def state_dict(self) -> dict[str, list[int]]:
        """Totals over all ranks as of now; all ranks call it together."""
        dist.all_reduce(self.fresh_S2)
        self.settle(self.fresh_S2)
        return self.totals()


def mean_losses(table: LossTable, *, sources: Sequence[str], counts: SourceCounts | None = None) -> Losses:
    """Add the tables of all ranks up, and `counts` in the same reduction; all ranks call it together."""
    fresh_S2 = torch.zeros_like(table.counts_S2) if counts is None else counts.fresh_S2
    sums_3S2 = torch.stack([table.losses_S2.cpu(), table.counts_S2.double(), fresh_S2.double()])
    dist.all_reduce(sums_3S2)
    losses_S2, counts_S2, fresh_S2 = sums_3S2
    if counts is not None:
        counts.settle(fresh_S2)
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
