"""What the checkpoints of each training stage need on the disk. Pure; sizes are looked up by others."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from runner.report import size
from runner.sizes import trained_rows

if TYPE_CHECKING:
    from onerec.config.memory import ModelSizes
    from runner.manifest.tables import Manifest, TrainStage

MOMENTS = 2
"""Tensors of AdamW beside each weight."""
EXPORT_BYTES = 2
"""Of one parameter in the converted folder, which is bf16."""


@dataclass(frozen=True)
class StageDisk:
    """Bytes that a training stage writes, indexes and logs left out."""

    checkpoint: int
    """One checkpoint: what trains, and its moments."""
    kept: int
    """Checkpoints that stay, as far as the manifest tells."""
    export: int
    """The converted folder of the last one."""

    @property
    def peak(self) -> int:
        """The most at one time: what stays, a checkpoint that is being written, and the export."""
        return self.checkpoint * (self.kept + 1) + self.export

    def to_json(self) -> dict[str, int]:
        """The same for programs."""
        return {**asdict(self), "peak": self.peak}

    def __str__(self) -> str:
        return (
            f"{size(self.checkpoint)} a checkpoint, at most {size(self.peak)} "
            f"({self.kept} kept, one being written, {size(self.export)} converted)"
        )


def disks_of(manifest: Manifest, sizes: ModelSizes | None) -> dict[str, StageDisk]:
    """What each training stage needs; none where the sizes of the model are not told."""
    if sizes is None:
        return {}
    return {
        name: _disk(manifest, stage, sizes)
        for name, stage in manifest.stages.items()
        if stage.kind == "train"
    }


def _disk(manifest: Manifest, stage: TrainStage, sizes: ModelSizes) -> StageDisk:
    rows = trained_rows(manifest, stage, sizes)
    trained = sizes.parameters if rows is None else rows * sizes.hidden * sizes.tables
    bytes_each = 4 if stage.use_fp32_weight else 2  # moments have the format of their weights
    every = 0
    if stage.keep_every is not None and stage.max_steps is not None:
        every = max(0, stage.max_steps // stage.keep_every - stage.keep_checkpoints)
    return StageDisk(
        checkpoint=trained * bytes_each * (1 + MOMENTS),
        kept=stage.keep_checkpoints + every,
        export=sizes.parameters * EXPORT_BYTES,
    )
