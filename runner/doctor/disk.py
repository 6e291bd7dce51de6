"""Whether the disk of a run takes another checkpoint, and takes writes at all."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.doctor.diagnosis import Check, Finding
from runner.report import size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runner.doctor.diagnosis import Standing
    from runner.doctor.stage_files import StageFiles
    from runner.rundir import RunDir

HEADROOM = 1.02
"""Room that a save asks for, as a multiple of the checkpoint's bytes."""


@dataclass(frozen=True)
class DiskFacts:
    """The disk that a run directory is on."""

    free: int
    """Bytes."""
    is_read_only: bool
    """Whether it is mounted so."""
    may_write: bool
    """Whether whoever looks may write into the run directory."""


def read_disk(run: RunDir) -> DiskFacts:
    """The disk as it stands."""
    return DiskFacts(
        free=shutil.disk_usage(run.path).free,
        is_read_only=bool(os.statvfs(run.path).f_flag & os.ST_RDONLY),
        may_write=os.access(run.path, os.W_OK),
    )


def check_disk(facts: DiskFacts, stages: Sequence[StageFiles], standing: Standing) -> Check:
    """What keeps an unfinished run from going on; a finished one needs no room."""
    newest = max((stage.checkpoints[-1].size for stage in stages if stage.checkpoints), default=0)
    detail = f"{size(facts.free)} free, the largest newest checkpoint has {size(newest)}"
    if standing.history.outcome == "done":
        return Check("disk", detail)
    return Check("disk", detail, tuple(_findings(facts, standing, newest=newest)))


def _findings(facts: DiskFacts, standing: Standing, *, newest: int) -> Iterator[Finding]:
    if facts.is_read_only:
        remedy = f"mount it writable, or copy the run elsewhere, then: {standing.resume}"
        yield Finding(
            "error", ".", "the disk is mounted read-only, and the run has not come to its end", remedy
        )
    elif not facts.may_write:
        remedy = "give yourself the right to write, or go on as its owner"
        yield Finding("warning", ".", "you may not write here, and the run has not come to its end", remedy)
    if facts.free < newest * HEADROOM:
        text = f"{size(facts.free)} are free, and a checkpoint needs {size(int(newest * HEADROOM))}"
        yield Finding("warning", ".", text, "free space, or lower keep_checkpoints, before the next save")
