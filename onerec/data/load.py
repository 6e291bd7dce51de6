"""Deliver packs to one rank, step by step: the same global sequence for any number of ranks and workers.

The sequence is fixed before ranks and workers are known (`plan`); the state is a position in it, so going
on is immediate. Nothing is written but the plans, which are the same whoever writes them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from torchdata.stateful_dataloader import StatefulDataLoader

from onerec.config import DataOrder
from onerec.data.batch import FILLER, Pack, PackArrays, pack_arrays, pack_of
from onerec.data.plan import EpochPlan, PlanKey, open_plan, plan_paths
from onerec.data.store import Store
from onerec.data.workers import begin_worker, worker_context
from onerec.errors import ConfigError, DriftError

__all__ = ["Pack", "PackLoader", "PackReader", "Slots", "StepPacks"]

PREFETCHED_PACKS = 2
NO_SNAPSHOTS = 1 << 62
"""The loader's own position is the state; torchdata's would depend on the number of workers."""


@dataclass(frozen=True)
class StepPacks:
    """What one rank trains on in one optimizer step; every rank gets as many packs."""

    packs: tuple[Pack, ...]


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

    def __iter__(self) -> Iterator[int]:
        for first in range(self.start, self.total, self.packs_per_step):
            end = min(first + self.packs_per_step, self.total)
            for micro in range(self.packs_per_rank):
                number = first + micro * self.world_size + self.rank
                yield number if number < end else FILLER


class PackReader(Dataset[PackArrays]):
    """Packs by their number in the run; each process maps store and plans when it reads its first pack."""

    def __init__(self, store_dir: str, plans: tuple[Path, ...], pad_to: int | None) -> None:
        self._store_dir, self._plan_paths, self._pad_to = store_dir, plans, pad_to
        self._opened: tuple[Store, list[EpochPlan], list[int]] | None = None

    def __getitem__(self, number: int) -> PackArrays:
        store, plans, starts = self._open()
        samples = []
        if number != FILLER:
            epoch = int(np.searchsorted(starts, number, side="right")) - 1
            samples = [store.sample(int(one)) for one in plans[epoch].pack(number - starts[epoch])]
        return pack_arrays(samples, pack=number, pad_id=store.pad_id, pad_to=self._pad_to)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _open(self) -> tuple[Store, list[EpochPlan], list[int]]:
        if self._opened is None:
            plans = [open_plan(path) for path in self._plan_paths]
            self._opened = (Store(self._store_dir), plans, epoch_starts([len(plan) for plan in plans]))
        return self._opened


def epoch_starts(counts: list[int]) -> list[int]:
    """Number of the first pack of each epoch, given the packs of each."""
    return [sum(counts[:epoch]) for epoch in range(len(counts))]


class PackLoader:
    """Iterates over the StepPacks of one rank, from the beginning or from where a state says.

    `packs_per_step` packs over all ranks make a step. With `pad_to`, packs are padded to that many tokens.
    Raises DataError when the store is missing, ConfigError when a sample is longer than a pack.
    """

    def __init__(
        self, data: DataOrder, *, rank: int, world_size: int, packs_per_step: int, pad_to: int | None
    ) -> None:
        store = Store(data.datasets[0].store_dir)
        _check_lengths(store, data, pad_to)
        key = PlanKey(store.fingerprint, data.shuffle_seed, data.max_length, data.local_shuffle_buffer_size)
        plans = plan_paths(store.paths.plans, store.lengths, key, data.num_epochs)
        self._key, self._samples = key, len(store)
        self._counts = [len(open_plan(path)) for path in plans]
        self._starts = epoch_starts(self._counts)
        self._reader = PackReader(data.datasets[0].store_dir, plans, pad_to)
        self._rank, self._world_size, self._packs_per_step = rank, world_size, packs_per_step
        self._workers = data.num_workers
        self._context = worker_context("onerec.data.load") if data.num_workers else None
        self._next = 0
        self.sources = store.sources
        self.fingerprint = key.digest
        self.total_packs = sum(self._counts)
        self.total_steps = -(-self.total_packs // packs_per_step)

    def __iter__(self) -> Iterator[StepPacks]:
        slots = Slots(self._next, self.total_packs, self._packs_per_step, self._rank, self._world_size)
        arrays = iter(self._engine(slots))
        for _ in range(0, len(slots), slots.packs_per_rank):
            packs = tuple(pack_of(next(arrays)) for _ in range(slots.packs_per_rank))
            self._next = min(self._next + self._packs_per_step, self.total_packs)
            yield StepPacks(packs)

    def state_dict(self) -> dict[str, Any]:
        """The position after the steps that were yielded: JSON, independent of ranks and workers."""
        epoch = max((e for e, start in enumerate(self._starts) if start <= self._next), default=0)
        return {**self._identity(), "epoch": epoch, "next_pack": self._next - self._starts[epoch]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a position, before iter(); raises DriftError for a position in other packs."""
        differences = [
            f"{name} is {value}, not {state.get(name)}"
            for name, value in self._identity().items()
            if state.get(name) != value
        ]
        if differences:
            raise DriftError(
                f"the data is not what the checkpoint had: {'; '.join(differences)}; "
                "restore the data and its options, or start the stage anew"
            )
        epoch, number = state["epoch"], state["next_pack"]
        if epoch >= len(self._counts) or number > self._counts[epoch]:
            raise DriftError(
                f"the checkpoint stands at epoch {epoch}, num_epochs is {len(self._counts)}; raise num_epochs"
            )
        self._next = self._starts[epoch] + number

    def _identity(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "data": self._key.fingerprint,
            "samples": self._samples,
            "seed": self._key.seed,
            "max_length": self._key.max_length,
            "local_shuffle_buffer_size": self._key.local_shuffle_buffer_size,
        }

    def _engine(self, slots: Slots) -> StatefulDataLoader[PackArrays]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*set_vital", category=UserWarning)  # by torchdata
            return StatefulDataLoader(
                self._reader,
                batch_size=None,
                sampler=slots,
                num_workers=self._workers,
                collate_fn=_as_it_is,
                worker_init_fn=_begin,
                multiprocessing_context=self._context,
                prefetch_factor=PREFETCHED_PACKS if self._workers else None,
                generator=torch.Generator(),  # or it would draw from the trainer's
                snapshot_every_n_steps=NO_SNAPSHOTS,
            )


def _as_it_is(arrays: PackArrays) -> PackArrays:
    return arrays


def _begin(_worker: int) -> None:
    begin_worker()


def _check_lengths(store: Store, data: DataOrder, pad_to: int | None) -> None:
    longest = int(store.lengths.max())
    if longest > data.max_length:
        raise ConfigError(
            f"{data.datasets[0].store_dir}: its longest sample has {longest} tokens, max_length is {data.max_length}; "
            "raise max_length, or lower max_sample_length and prepare again"
        )
    if pad_to is not None and pad_to < data.max_length:
        raise ConfigError(f"pad_to {pad_to} is below max_length {data.max_length}; packs would not fit")
