"""What trainer.json and data.json tell about the reading of a stage, as values of sound form. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from onerec.checkpoint.stretch import Stretch
from runner.doctor.documents import as_numbers, as_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.doctor.documents import Document

NUMBERS = ("world_size", "num_workers", "first_step", "last_step", "first_pack", "end_pack")


@dataclass(frozen=True)
class Told:
    """One trainer.json."""

    format: int
    step: int
    epoch: int
    next_pack: int
    """Packs of that epoch that were read."""
    packs_per_step: int
    counts: Mapping[str, tuple[int, int]]
    """Tokens and samples read so far, by source."""
    stretches: tuple[Stretch, ...]


@dataclass(frozen=True)
class Account:
    """One data.json: what the stage reads, as planned."""

    packs_per_epoch: tuple[int, ...]
    packs_per_step: int
    planned: Mapping[str, tuple[int, int]]
    """Tokens and samples over all epochs, by source."""

    @property
    def total_packs(self) -> int:
        """Packs of all epochs."""
        return sum(self.packs_per_epoch)

    @property
    def epoch_ends(self) -> set[int]:
        """Packs before the end of each epoch."""
        return set(accumulate(self.packs_per_epoch))

    def packs_before(self, epoch: int, next_pack: int) -> int | None:
        """Packs, over all epochs, that lie before a position; None for a position that is not in the data."""
        if not 0 <= epoch < len(self.packs_per_epoch) or not 0 <= next_pack <= self.packs_per_epoch[epoch]:
            return None
        return sum(self.packs_per_epoch[:epoch]) + next_pack


def told_by(document: Document) -> Told | str:
    """What a trainer.json tells, or what is wrong with it."""
    if document.fault is not None:
        return f"it {document.fault}"
    position = document.values.get("data")
    place = position if isinstance(position, dict) else {}
    numbers = [document.whole(key) for key in ("format", "step", "packs_per_step")]
    numbers += [as_whole(place.get(key)) for key in ("epoch", "next_pack")]
    counts = _counts(document.values.get("counts"))
    stretches = _stretches(document.values.get("stretches", []))
    known = [number for number in numbers if number is not None]
    if len(known) < len(numbers) or counts is None or stretches is None:
        return "its step, position, counts or stretches cannot be understood"
    kind, step, packs_per_step, epoch, next_pack = known
    return Told(kind, step, epoch, next_pack, packs_per_step, counts, stretches)


def account_of(document: Document) -> Account | str:
    """What a data.json tells, or what is wrong with it."""
    if document.fault is not None:
        return f"it {document.fault}"
    packs = as_numbers(document.values.get("packs_per_epoch"))
    packs_per_step = document.whole("packs_per_step")
    planned = _planned(document.values.get("sources"))
    if packs is None or not packs_per_step or planned is None:
        return "its packs or sources cannot be understood"
    return Account(packs, packs_per_step, planned)


def _counts(value: object) -> dict[str, tuple[int, int]] | None:
    if not isinstance(value, dict):
        return None
    pairs = {str(source): as_numbers(pair) for source, pair in value.items()}
    known = {source: (pair[0], pair[1]) for source, pair in pairs.items() if pair and len(pair) == 2}
    return known if len(known) == len(pairs) else None


def _stretches(value: object) -> tuple[Stretch, ...] | None:
    if not isinstance(value, list):
        return None
    found = tuple(stretch for stretch in map(_stretch, value) if stretch is not None)
    return found if len(found) == len(value) else None


def _stretch(value: object) -> Stretch | None:
    if not isinstance(value, dict) or not isinstance(value.get("attempt"), str):
        return None
    numbers = as_numbers([value.get(key) for key in NUMBERS])
    return None if numbers is None else Stretch(value["attempt"], *numbers)


def _planned(value: object) -> dict[str, tuple[int, int]] | None:
    """Tokens and samples of each source over all epochs."""
    if not isinstance(value, dict):
        return None
    planned = {}
    for source, facts in value.items():
        if not isinstance(facts, dict):
            return None
        tokens, samples = (as_numbers(facts.get(f"{unit}_per_epoch")) for unit in ("tokens", "samples"))
        if tokens is None or samples is None:
            return None
        planned[str(source)] = (sum(tokens), sum(samples))
    return planned
