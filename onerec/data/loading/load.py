"""Deliver packs to one rank, step by step: the same global sequence for any number of ranks and workers.

The sequence is fixed before ranks and workers are known (`plan`); the state is a position in it, so going
on is immediate. Nothing is written but the plans, which are the same whoever writes them.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torchdata.stateful_dataloader import StatefulDataLoader

from onerec.config import DataOrder
from onerec.data.loading.batch import Pack, PackArrays, pack_of
from onerec.data.loading.reader import PackReader, Slots, check_pad_to, epoch_starts
from onerec.data.loading.workers import begin_worker, worker_context
from onerec.data.order.account import account_of
from onerec.data.order.plan import open_plan
from onerec.data.order.selection import Planned, Selection, digest, plan_training
from onerec.data.store.pool import FileFacts, Pool, difference_of_files
from onerec.errors import ConfigError, DriftError

__all__ = ["Pack", "PackLoader", "PackReader", "Slots", "StepPacks", "difference_of_files"]

PREFETCHED_PACKS = 2
NO_SNAPSHOTS = 1 << 62
"""The loader's own position is the state; torchdata's would depend on the number of workers."""
LONGEST_TEXT = 1000
"""Characters of a mixture that a state holds."""


@dataclass(frozen=True)
class StepPacks:
    """What one rank trains on in one optimizer step; every rank gets as many packs."""

    packs: tuple[Pack, ...]


class PackLoader:
    """Iterates over the StepPacks of one rank, from the beginning or from where a state says.

    `packs_per_step` packs over all ranks make a step. With `pad_to`, packs are padded to that many tokens.
    Raises DataError when a store is missing or the stores do not go together, ConfigError when a sample is
    longer than a pack, when nothing is left to train on, and for a mixture that does not fit the data.
    """

    def __init__(
        self, data: DataOrder, *, rank: int, world_size: int, packs_per_step: int, pad_to: int | None
    ) -> None:
        check_pad_to(data, pad_to)
        pool = Pool(data.datasets)
        self._data, self._planned = data, plan_training(pool, data)
        self._counts = [len(open_plan(path)) for path in self._planned.paths]
        self._starts = epoch_starts(self._counts)
        self._reader = PackReader(data.datasets, self._planned.paths, pad_to)
        self._rank, self._world_size, self._packs_per_step = rank, world_size, packs_per_step
        self._context = worker_context("onerec.data.loading.load") if data.num_workers else None
        self._identity = _identity(self._planned, Selection(pool, data))
        self._next = 0
        self.sources = pool.sources
        self.itemic_ids = pool.itemic_ids
        self.fingerprint = self._planned.key.digest
        self.total_packs = sum(self._counts)
        if not self.total_packs:
            raise ConfigError(
                f"{', '.join(repr(one.name) for one in data.datasets)}: the mixture reads no sample in "
                f"{data.num_epochs} epochs; raise its numbers or num_epochs"
            )
        self.total_steps = -(-self.total_packs // packs_per_step)

    def __iter__(self) -> Iterator[StepPacks]:
        """Steps from the position on; the first is read here, and while it is taken the workers start."""
        first, rest = self._slots().halves()
        # read before the workers are started, which would take the processor from it
        read = [self._reader[number] for number in first]
        with ThreadPoolExecutor(1, thread_name_prefix="start workers") as thread:
            starting = thread.submit(lambda: iter(self._engine(rest)) if len(rest) else iter(()))
            if read:
                yield self._step(iter(read))
            arrays = starting.result()
        for _ in range(0, len(rest), rest.packs_per_rank):
            yield self._step(arrays)

    def _slots(self) -> Slots:
        return Slots(self._next, self.total_packs, self._packs_per_step, self._rank, self._world_size)

    def _step(self, arrays: Iterator[PackArrays]) -> StepPacks:
        """The next step, which the position moves behind."""
        packs = tuple(pack_of(next(arrays)) for _ in range(self._slots().packs_per_rank))
        self._next = min(self._next + self._packs_per_step, self.total_packs)
        return StepPacks(packs)

    @property
    def steps_left(self) -> int:
        """Steps from the position to the end of the data."""
        return -(-(self.total_packs - self._next) // self._packs_per_step)

    def packs_before(self, state: Mapping[str, Any]) -> int:
        """Packs, over all epochs, that lie before a position."""
        return int(self._starts[state["epoch"]] + state["next_pack"])

    def account(self) -> dict[str, Any]:
        """What all epochs will read, exactly, as JSON values: see `account_of`."""
        return account_of(self._planned, self._data, packs_per_step=self._packs_per_step)

    def files(self) -> list[FileFacts]:
        """Every input file as [dataset, name, bytes, digest of its footer], to be kept with a checkpoint."""
        return self._planned.pool.files()

    def state_dict(self) -> dict[str, Any]:
        """The position after the steps that were yielded: JSON, independent of ranks and workers."""
        epoch = max((e for e, start in enumerate(self._starts) if start <= self._next), default=0)
        return {**self._identity, "epoch": epoch, "next_pack": self._next - self._starts[epoch]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a position, before iter(); raises DriftError for a position in other packs."""
        differences = [
            f"{name} is {value}, not {state.get(name)}"
            for name, value in self._identity.items()
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

    def _engine(self, slots: Slots) -> StatefulDataLoader[PackArrays]:
        workers = self._data.num_workers
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*set_vital", category=UserWarning)  # by torchdata
            return StatefulDataLoader(
                self._reader,
                batch_size=None,
                sampler=slots,
                num_workers=workers,
                collate_fn=_as_it_is,
                worker_init_fn=_begin,
                multiprocessing_context=self._context,
                prefetch_factor=PREFETCHED_PACKS if workers else None,
                generator=torch.Generator(),  # or it would draw from the trainer's
                snapshot_every_n_steps=NO_SNAPSHOTS,
            )


def _identity(planned: Planned, selection: Selection) -> dict[str, Any]:
    """What a position belongs to, as JSON values of bounded size that tell a person what is different."""
    key = planned.key
    return {
        "fingerprint": key.digest,
        "data": key.fingerprint,
        "samples": len(planned.pool),
        "seed": key.seed,
        "max_length": key.max_length,
        "local_shuffle_buffer_size": key.local_shuffle_buffer_size,
        "group_tokens": key.group_tokens,
        "mixture": _brief(selection.mixture_facts),
        "validation": _brief(selection.validation_facts),
    }


def _brief(document: dict[str, Any] | None) -> str | None:
    """JSON text, cut so that a state stays small however many sources are named."""
    if document is None:
        return None
    text = json.dumps(document, sort_keys=True)
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}... ({digest(document)})"


def _as_it_is(arrays: PackArrays) -> PackArrays:
    return arrays


def _begin(_worker: int) -> None:
    begin_worker()
