"""Packs that a stage is evaluated on and never trains on: the same ones on any number of ranks."""

from __future__ import annotations

from collections.abc import Iterator

from onerec.config import DataOrder
from onerec.data.loading.batch import Pack, pack_of
from onerec.data.loading.reader import PackReader, Slots, check_pad_to
from onerec.data.order.plan import open_plan
from onerec.data.order.selection import Planned, plan_validation

__all__ = ["ValidationPacks", "open_validation"]


class ValidationPacks:
    """This rank's share of the validation packs; every iteration yields the same, as many on every rank.

    Packs are numbered from 0; ranks without one get fillers. They are read in the calling process.
    """

    def __init__(
        self, planned: Planned, *, rank: int, world_size: int, pad_to: int | None, max_packs: int | None
    ) -> None:
        plan = open_plan(planned.paths[0])
        self.sources = planned.pool.sources
        """Names that `document_sources` of the packs are places in: not always those of the loader."""
        self.fingerprint = planned.key.digest
        self.total_packs = len(plan) if max_packs is None else min(max_packs, len(plan))
        """Packs over all ranks, at most `max_packs`."""
        self.samples = sum(len(plan.pack(number)) for number in range(self.total_packs))
        """Samples in them."""
        self._slots = Slots(0, self.total_packs, packs_per_step=world_size, rank=rank, world_size=world_size)
        self._reader = PackReader(planned.pool.datasets, planned.paths, pad_to)

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Pack]:
        for number in self._slots:
            yield pack_of(self._reader[number])


def open_validation(
    data: DataOrder, *, rank: int, world_size: int, pad_to: int | None, max_packs: int | None
) -> ValidationPacks | None:
    """The validation packs of a stage; None where it has no validation data.

    `max_packs` takes the first packs of their fixed order. Raises DataError when a store is missing,
    ConfigError when a sample is longer than a pack.
    """
    check_pad_to(data, pad_to)
    planned = plan_validation(data)
    if planned is None or not len(open_plan(planned.paths[0])):
        return None
    return ValidationPacks(planned, rank=rank, world_size=world_size, pad_to=pad_to, max_packs=max_packs)
