"""Packs by their number, and which of them a rank reads: what stands between a plan and a loader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from onerec.config import DataOrder, PreparedDataset
from onerec.data.loading.batch import FILLER, Kinds, PackArrays, pack_arrays
from onerec.data.order.plan import EpochPlan, open_plan
from onerec.data.store.pool import Pool
from onerec.errors import ConfigError


@dataclass(frozen=True)
class Slots:
    """Which packs a rank reads: its share of every step from `start` on, fillers where a step has no more."""

    start: int
    total: int
    packs_per_step: int
    rank: int
    world_size: int

    @property
    def packs_per_rank(self) -> int:
        """Packs of one rank in one step, fillers included."""
        return -(-self.packs_per_step // self.world_size)

    def __len__(self) -> int:
        return -(-(self.total - self.start) // self.packs_per_step) * self.packs_per_rank

    def halves(self) -> tuple[Slots, Slots]:
        """The next step, and all that follow it."""
        end = min(self.start + self.packs_per_step, self.total)
        return replace(self, total=end), replace(self, start=end)

    def __iter__(self) -> Iterator[int]:
        for first in range(self.start, self.total, self.packs_per_step):
            end = min(first + self.packs_per_step, self.total)
            for micro in range(self.packs_per_rank):
                number = first + micro * self.world_size + self.rank
                yield number if number < end else FILLER


class PackReader(Dataset[PackArrays]):
    """Packs by their number in the run; each process maps stores and plans when it reads its first pack."""

    def __init__(
        self, datasets: tuple[PreparedDataset, ...], plans: tuple[Path, ...], pad_to: int | None
    ) -> None:
        self._datasets, self._plan_paths, self._pad_to = datasets, plans, pad_to
        self._opened: tuple[Pool, list[EpochPlan], list[int]] | None = None

    def __getitem__(self, number: int) -> PackArrays:
        pool, plans, starts = self._open()
        samples = []
        if number != FILLER:
            epoch = int(np.searchsorted(starts, number, side="right")) - 1
            samples = [pool.sample(int(one)) for one in plans[epoch].pack(number - starts[epoch])]
        kinds = Kinds(len(pool.sources), pool.itemic_ids)
        return pack_arrays(samples, kinds, pack=number, pad_id=pool.pad_id, pad_to=self._pad_to)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _open(self) -> tuple[Pool, list[EpochPlan], list[int]]:
        if self._opened is None:
            plans = [open_plan(path) for path in self._plan_paths]
            self._opened = (Pool(self._datasets), plans, epoch_starts([len(plan) for plan in plans]))
        return self._opened


def epoch_starts(counts: list[int]) -> list[int]:
    """Number of the first pack of each epoch, given the packs of each."""
    return [sum(counts[:epoch]) for epoch in range(len(counts))]


def check_pad_to(data: DataOrder, pad_to: int | None) -> None:
    """Raise ConfigError when packs would not fit into their padded length."""
    if pad_to is not None and pad_to < data.max_length:
        raise ConfigError(f"pad_to {pad_to} is below max_length {data.max_length}; packs would not fit")
