"""How much a training step reads and how many steps that makes, as far as its data is prepared. Pure.

Exact from the stage's data.json where it is done or goes on; else, as settings may have changed since that
was written, from its datasets' summaries, whose epochs may differ by a few packs, and which know no mixture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from onerec.config import TrainConfig

if TYPE_CHECKING:
    from runner.decide import Action

KEEPING = ("skip", "continue")
"""Actions under which what an earlier attempt recorded still holds."""
Document = Mapping[str, object]


@dataclass(frozen=True)
class Reading:
    """What one training step reads."""

    total_packs: int
    """Of all epochs."""
    packs_per_step: int
    total_steps: int
    """At the end of the data, or max_steps where that comes first."""
    is_exact: bool

    def to_json(self) -> dict[str, object]:
        """The same for programs."""
        return asdict(self)

    def __str__(self) -> str:
        about = "" if self.is_exact else "about "
        return (
            f"{about}{self.total_steps:,} steps of {self.packs_per_step:,} packs; "
            f"the data has {about}{self.total_packs:,} packs"
        )


def reading_of(
    config: TrainConfig,
    *,
    action: Action,
    account: Document,
    summaries: Sequence[Document],
    ranks: int | None,
) -> Reading | None:
    """What a stage reads, from its data.json (or nothing) and its datasets' summaries; None: unknown.

    `action` is what is to be done about the stage: one that starts anew writes another data.json.
    """
    recorded = account if action in KEEPING else {}
    exact, estimated = recorded.get("total_packs"), _estimated_packs(config, summaries)
    packs = exact if isinstance(exact, int) else estimated
    size = config.duration.packs_per_step or recorded.get("packs_per_step") or ranks
    if packs is None or not isinstance(size, int):
        return None
    steps = -(-packs // size)
    return Reading(
        total_packs=packs,
        packs_per_step=size,
        total_steps=min(steps, config.duration.max_steps or steps),
        is_exact=isinstance(exact, int),
    )


def _estimated_packs(config: TrainConfig, summaries: Sequence[Document]) -> int | None:
    """Packs of all epochs without a mixture, which may make an epoch longer or shorter; None: not known.

    A summary is of the max_length that its dataset was prepared with; of another it tells nothing.
    """
    mixture = config.data.mixture
    packings = [summary.get("packing") for summary in summaries]
    counts = [
        packing.get("packs_per_epoch")
        for packing in packings
        if isinstance(packing, Mapping) and packing.get("max_length") == config.data.max_length
    ]
    if len(counts) < len(config.data.datasets) or (mixture is not None and mixture.epochs is not None):
        return None
    whole = [count for count in counts if isinstance(count, int)]
    return sum(whole) * config.data.num_epochs if len(whole) == len(counts) else None
