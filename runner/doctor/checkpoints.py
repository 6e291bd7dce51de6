"""Whether the checkpoints of training stages are whole, and what is to become of those that are not. Pure."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from runner.doctor.diagnosis import Check, Finding
from runner.report import counted, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runner.doctor.diagnosis import Level, Standing
    from runner.doctor.stage_files import CheckpointFiles, StageFiles


def check_checkpoints(
    stages: Sequence[StageFiles], standing: Standing, *, fast: bool, unread: Sequence[Finding] = ()
) -> Check:
    """Damaged, incomplete and quarantined ones, what `latest` names; and stages that could not be read."""
    checkpoints = [checkpoint for stage in stages for checkpoint in stage.checkpoints]
    looked = "sizes compared" if fast else "digests compared"
    detail = (
        f"{counted(len(checkpoints), 'complete checkpoint')} of {counted(len(stages), 'stage')}, "
        f"{size(sum(checkpoint.size for checkpoint in checkpoints))}, {looked}"
    )
    findings = [finding for stage in stages for finding in _of_stage(stage, standing)]
    return Check("checkpoints", detail, (*unread, *findings))


def _of_stage(stage: StageFiles, standing: Standing) -> Iterator[Finding]:
    for checkpoint in stage.checkpoints:
        if checkpoint.fault is not None:
            yield Finding(
                "error",
                checkpoint.place,
                checkpoint.fault,
                _remedy(checkpoint, stage=stage, standing=standing),
            )
    for name in stage.unmarked:
        place = f"{stage.place}/{name}"
        text = "it has no COMMIT.json: it was never completed, or that file was removed; nobody takes it"
        remedy = f"copy it here again as a whole, or remove it: {standing.remove(place)}"
        yield Finding("warning", place, text, remedy)
    for name in stage.quarantined:
        place = f"{stage.place}/{name}"
        text = "a checkpoint that was found damaged, or was made a second time, and was set aside"
        remedy = f"when nobody needs it any more, remove it: {standing.remove(place)}"
        yield Finding("warning", place, text, remedy)
    if stage.quarantined and not stage.checkpoints and not stage.is_done:
        text = "no sound checkpoint is left, so the stage refuses to go on"
        remedy = f"restore one from a copy, or start it afresh: runner MANIFEST --rerun {stage.name}"
        yield Finding("error", stage.place, text, remedy)
    yield from _latest(stage, standing)


def _remedy(checkpoint: CheckpointFiles, *, stage: StageFiles, standing: Standing) -> str:
    """What to do about a damaged checkpoint."""
    sound = [other.step for other in stage.checkpoints if other.fault is None]
    older = [step for step in sound if step < checkpoint.step]
    is_newest = checkpoint.step == stage.checkpoints[-1].step
    if not is_newest:
        place = standing.path_of(checkpoint.place)
        return f"nothing needs it; set it aside: {shlex.join(['mv', place, f'{place}.quarantined-1'])}"
    if stage.is_done:
        return f"restore it from a copy, or make it again: runner MANIFEST --rerun {stage.name}"
    if older:
        return f"it is set aside, and step{older[-1]} taken, by: {standing.resume}"
    return f"restore it from a copy, or start the stage afresh: runner MANIFEST --rerun {stage.name}"


def _latest(stage: StageFiles, standing: Standing) -> Iterator[Finding]:
    """A crash between a save and the writing of `latest` leaves it one behind."""
    if not stage.checkpoints or (standing.is_alive and not stage.is_done):  # a save may be going on
        return
    newest = f"step{stage.checkpoints[-1].step}"
    if stage.latest == newest:
        return
    place = f"{stage.place}/latest"
    told = "it cannot be read" if stage.latest is None else f"it names {stage.latest!r}"
    command = f"echo {newest} > {shlex.quote(standing.path_of(place))}"
    remedy = command if stage.is_done else f"the stage's next save mends it, or: {command}"
    level: Level = "error" if stage.is_done else "warning"
    yield Finding(level, place, f"{told}, and the newest complete checkpoint is {newest}", remedy)
