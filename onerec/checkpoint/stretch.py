"""How the steps of a checkpoint were taken, as trainer.json tells it; no torch, for those who only look."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stretch:
    """The steps that one attempt took on the way to a checkpoint, and the packs that these read.

    Packs are numbered over all epochs. The stretches of a checkpoint follow each other without gap or
    overlap.
    """

    attempt: str
    world_size: int
    num_workers: int
    first_step: int
    """Steps taken before it."""
    last_step: int
    """Steps taken after it."""
    first_pack: int
    end_pack: int
    """One more than the last pack that was read."""
