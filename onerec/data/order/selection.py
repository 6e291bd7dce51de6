"""Which samples a stage trains on and which it is evaluated on, and the packs of both.

Needs the index of the stores only: neither tokens nor torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from onerec.config import DataOrder
from onerec.data.order.holdout import BoolArray, held_out, listed
from onerec.data.order.mixture import Group, GroupNumbers, draw, reads_per_epoch
from onerec.data.order.plan import PlanKey, Samples, plan_paths
from onerec.data.order.shuffle import CHUNK
from onerec.data.store.pool import Pool
from onerec.errors import ConfigError

By = Literal["source", "dataset"]
BYTES_PER_TOKEN = 4
VALIDATION_SEED = 0
"""Validation packs are the same whatever the seed of the stage."""


@dataclass(frozen=True)
class Planned:
    """The packs of every epoch of a pool of samples, as folders of mapped arrays."""

    pool: Pool
    key: PlanKey
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Kept:
    """Which samples of one dataset are trained on, and how many are not."""

    mask: BoolArray
    held_out: int
    """Samples that its validation_fraction takes."""
    in_validation: int
    """Further samples whose uuid is evaluated: the validation dataset or another one has it there."""


class Selection:
    """The samples that each epoch of a stage reads: not those held out, and as often as the mixture says."""

    def __init__(self, pool: Pool, data: DataOrder) -> None:
        self._pool, self._data = pool, data
        self.mixture = data.mixture

    @property
    def is_natural(self) -> bool:
        """Whether every sample is read once an epoch."""
        held = any(dataset.validation_fraction for dataset in self._data.datasets)
        return not (held or self._data.validation or self.mixture)

    @property
    def mixture_facts(self) -> dict[str, Any] | None:
        """The mixture as JSON values, with the names that it goes by."""
        if self.mixture is None:
            return None
        names = [dataset.name for dataset in self._data.datasets] if self.mixture.by == "dataset" else None
        return {**self.mixture.model_dump(mode="json"), "datasets": names}

    @property
    def validation_facts(self) -> dict[str, Any] | None:
        """What is not trained on, as JSON values: shares of the datasets, the validation dataset."""
        fractions = [dataset.validation_fraction for dataset in self._data.datasets]
        apart = self._data.validation
        if apart is None and not any(fractions):
            return None
        return {"fractions": fractions, "dataset": Pool([apart]).fingerprint if apart else None}

    @property
    def digest(self) -> str:
        """A name for the selection; empty for the natural one."""
        return "" if self.is_natural else digest([self.mixture_facts, self.validation_facts])

    def kept(self) -> tuple[Kept, ...]:
        """Training samples of each dataset; raises ConfigError for a dataset of which nothing is left."""
        others = self._evaluated_hashes()
        return tuple(self._kept(place, others) for place in range(len(self._pool.datasets)))

    def _evaluated_hashes(self) -> npt.NDArray[np.uint64]:
        """Hashes of the uuids of all that is evaluated: what one dataset holds out, another may have too."""
        apart = self._data.validation
        parts = [Pool([apart]).uuid_hashes(0) if apart else np.zeros(0, dtype=np.uint64)]
        for place, dataset in enumerate(self._pool.datasets):
            if dataset.validation_fraction:
                hashes = self._pool.uuid_hashes(place)
                parts.append(hashes[held_out(hashes, dataset.validation_fraction)])
        return np.concatenate(parts)

    def _kept(self, place: int, others: npt.NDArray[np.uint64]) -> Kept:
        dataset, hashes = self._pool.datasets[place], self._pool.uuid_hashes(place)
        held = held_out(hashes, dataset.validation_fraction)
        known = listed(hashes, others)
        known &= ~held
        kept = Kept(~(held | known), int(np.count_nonzero(held)), int(np.count_nonzero(known)))
        if not kept.mask.any():
            raise ConfigError(
                f"dataset {dataset.name!r}: nothing is left to train on of {len(hashes):,} samples: "
                f"validation_fraction {dataset.validation_fraction} holds out {kept.held_out:,}, the "
                f"validation data has {kept.in_validation:,}; lower the fraction or give other data"
            )
        return kept

    def names(self, by: By) -> tuple[str, ...]:
        """Names of the groups."""
        return self._pool.sources if by == "source" else tuple(one.name for one in self._pool.datasets)

    def numbers(self, by: By, kept: Sequence[Kept]) -> GroupNumbers:
        """Place of each sample's group in the names, -1 for samples that are not trained on."""
        small = np.int16 if len(self.names(by)) < 1 << 15 else np.int32
        if by == "source":
            numbers = self._pool.sources_of.astype(small)
        else:
            numbers = np.repeat(np.arange(len(kept), dtype=small), np.diff(self._pool.starts))
        for start, part in zip(self._pool.starts, kept, strict=False):
            numbers[start : start + len(part.mask)][~part.mask] = -1
        return numbers

    def draw(self, epoch: int) -> Samples | None:
        """The samples that an epoch reads, in the order of the store; None for each of them once.

        Nothing is kept from one epoch to the next: at 41 million samples memory is dearer than a second.
        """
        if self.is_natural:
            return None
        by = self.mixture.by if self.mixture else "source"
        numbers = self.numbers(by, self.kept())
        counts = count_by(numbers, self._pool.lengths, len(self.names(by))).tolist()
        groups = [Group(name, *count) for name, count in zip(self.names(by), counts, strict=True)]
        reads = reads_per_epoch(self.mixture, groups)
        key = (self._pool.fingerprint, self._data.shuffle_seed)
        return draw(numbers, groups, reads, key=key, epoch=epoch)


def count_by(numbers: GroupNumbers, lengths: npt.NDArray[np.int32], count: int) -> npt.NDArray[np.int64]:
    """Samples and tokens of each of `count` groups, shape (count, 2); numbers below 0 are left out."""
    counts = np.zeros((2, count), dtype=np.int64)
    for start in range(0, len(numbers), CHUNK):
        part = numbers[start : start + CHUNK].astype(np.int64) + 1
        each = lengths[start : start + CHUNK]
        counts[0] += np.bincount(part, minlength=count + 1)[1:]
        counts[1] += np.bincount(part, weights=each, minlength=count + 1)[1:].astype(np.int64)
    return counts.T


def plan_training(pool: Pool, data: DataOrder) -> Planned:
    """Packs of all epochs of a stage; raises ConfigError for too long a sample, and as `Selection` does."""
    check_lengths(pool, data)
    key, draw = training_key(pool, data), Selection(pool, data).draw
    plans_dir = pool.stores[0].paths.plans
    return Planned(pool, key, plan_paths(plans_dir, pool.lengths, key, epochs=data.num_epochs, draw=draw))


def training_key(pool: Pool, data: DataOrder) -> PlanKey:
    """What decides the packs of a stage. A store above the memory for shuffling is shuffled in two levels."""
    tokens = int(pool.lengths.sum(dtype=np.int64))
    limit = int(data.shuffle_memory_gigabytes * 10**9) // BYTES_PER_TOKEN
    return PlanKey(
        fingerprint=pool.fingerprint,
        seed=data.shuffle_seed,
        max_length=data.max_length,
        local_shuffle_buffer_size=data.local_shuffle_buffer_size,
        selection=Selection(pool, data).digest,
        group_tokens=limit if tokens > limit else None,
    )


def plan_validation(data: DataOrder) -> Planned | None:
    """Packs of what is never trained on: held-out samples and those of the validation dataset; None without.

    Their order has a seed of its own, so that stages with other seeds are evaluated on the same packs.
    """
    fractions = [dataset.validation_fraction for dataset in data.datasets]
    datasets = (*data.datasets, data.validation) if data.validation else data.datasets
    if data.validation is None and not any(fractions):
        return None
    pool = Pool(datasets)
    check_lengths(pool, data)
    key = PlanKey(
        fingerprint=pool.fingerprint,
        seed=VALIDATION_SEED,
        max_length=data.max_length,
        local_shuffle_buffer_size=data.local_shuffle_buffer_size,
        selection=digest(["validation", fractions]),
    )
    plans_dir = pool.stores[-1].paths.plans
    paths = plan_paths(
        plans_dir,
        pool.lengths,
        key,
        epochs=1,
        draw=lambda _epoch: _validation_samples(pool, fractions),
        what="validation data",
    )
    return Planned(pool, key, paths)


def _validation_samples(pool: Pool, fractions: Sequence[float]) -> Samples:
    parts = [held_out(pool.uuid_hashes(place), fraction) for place, fraction in enumerate(fractions)]
    parts += [np.ones(len(store), dtype=np.bool_) for store in pool.stores[len(fractions) :]]
    return np.flatnonzero(np.concatenate(parts)).astype(np.uint32)


def check_lengths(pool: Pool, data: DataOrder) -> None:
    """Raise ConfigError when a dataset has a sample that is longer than a pack."""
    for store in pool.stores:
        longest = int(store.mapped("lengths").max())
        if longest > data.max_length:
            raise ConfigError(
                f"{store.paths.root}: its longest sample has {longest} tokens, max_length is "
                f"{data.max_length}; raise max_length, or lower max_sample_length and prepare again"
            )


def digest(document: object) -> str:
    """A name of 16 hexadecimal digits for a JSON value."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]
