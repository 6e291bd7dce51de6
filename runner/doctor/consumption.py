"""Whether every sample was read as often as planned: what the checkpoints of a stage tell of its packs. Pure.

Packs are numbered over all epochs. The stretches of a checkpoint, one for each attempt on the way to it, have
to follow each other from pack 0 to the checkpoint's position without gap or overlap.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from runner.doctor.diagnosis import Check, Finding
from runner.doctor.told import Account, Told, account_of, told_by
from runner.report import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from onerec.checkpoint.stretch import Stretch
    from runner.doctor.diagnosis import Level, Standing
    from runner.doctor.stage_files import CheckpointFiles, StageFiles

OLD_FORMAT = 1
"""trainer.json of this format tells no stretches."""
KNOWN_FORMATS = {1, 2}
DATA_END = "data_end"


def check_consumption(stages: Sequence[StageFiles], standing: Standing) -> Check:
    """Holes, overlaps and other contradictions in what was read."""
    findings: list[Finding] = []
    packs = 0
    for stage in stages:
        told, unreadable = _read(stage)
        findings += unreadable
        findings += _of_stage(stage, told, standing)
        packs += max((one.stretches[-1].end_pack for _, one in told if one.stretches), default=0)
    return Check("consumption", f"{counted(packs, 'pack')} accounted for", tuple(findings))


def _read(stage: StageFiles) -> tuple[list[tuple[CheckpointFiles, Told]], list[Finding]]:
    """What each checkpoint tells, oldest first; and those that cannot be understood."""
    told, findings = [], []
    for checkpoint in stage.checkpoints:
        name = f"{checkpoint.place}/global_step{checkpoint.step}/trainer.json"
        one = told_by(checkpoint.state)
        if isinstance(one, str):
            if checkpoint.fault is None:  # a damaged checkpoint is told already
                findings.append(Finding("error", name, one, _remedy(stage)))
        elif one.format not in KNOWN_FORMATS:
            text = f"it is of format {one.format}, which this version does not know"
            findings.append(Finding("info", name, text, "nothing; a newer version wrote it"))
        elif one.format == OLD_FORMAT:
            text = "an earlier version wrote it, which told no stretches: what it read is not checked"
            findings.append(Finding("info", name, text, "nothing; later checkpoints tell them"))
        else:
            told.append((checkpoint, one))
    return told, findings


def _of_stage(
    stage: StageFiles, told: Sequence[tuple[CheckpointFiles, Told]], standing: Standing
) -> Iterator[Finding]:
    if not told:
        return
    account = account_of(stage.data)
    if isinstance(account, str):
        yield Finding(
            "error", f"{stage.place}/data.json", f"{account}: nothing can be compared", _remedy(stage)
        )
        return
    attempts = stage.told.attempts if standing.is_told and not stage.is_resumed_from_elsewhere else None
    for checkpoint, one in told:
        name = f"{checkpoint.place}/global_step{checkpoint.step}/trainer.json"
        faults = [*_own(one, checkpoint, account), *_stretches(one, account), *_attempts(one, attempts)]
        yield from (Finding("error", name, fault, _remedy(stage)) for fault in faults)
        yield from _beginning(one, stage, name=name)
    for (_, before), (checkpoint, after) in pairwise(told):
        if not _goes_on(before, after):
            name = f"{checkpoint.place}/global_step{checkpoint.step}/trainer.json"
            text = f"it does not go on from the checkpoint of step {before.step}"
            yield Finding("error", name, text, _remedy(stage))
    newest, last = told[-1]
    if newest is stage.checkpoints[-1]:
        yield from _end(stage, last, account)


def _own(told: Told, checkpoint: CheckpointFiles, account: Account) -> Iterator[str]:
    """Whether a checkpoint agrees with its folder, with data.json, and with its own stretches."""
    if told.step != checkpoint.step:
        yield f"it is the state of step {told.step}"
    if told.packs_per_step != account.packs_per_step:
        yield f"it has {told.packs_per_step} packs a step, data.json has {account.packs_per_step}"
    position = account.packs_before(told.epoch, told.next_pack)
    if position is None:
        yield f"its position, pack {told.next_pack} of epoch {told.epoch}, is behind the end of the data"
        return
    last = told.stretches[-1] if told.stretches else None
    steps, packs = (last.last_step, last.end_pack) if last else (0, 0)
    if steps != told.step:
        yield f"its stretches end at step {steps}, and its step is {told.step}"
    if packs != position:
        yield f"its stretches end before pack {packs}, and its position is before pack {position}"


def _stretches(told: Told, account: Account) -> Iterator[str]:
    """Whether stretches are as long as their steps, and follow each other."""
    for stretch in told.stretches:
        if stretch.last_step <= stretch.first_step:
            yield f"{_named(stretch)} has no step"
        elif not _is_as_long(stretch, account):
            read = stretch.end_pack - stretch.first_pack
            steps = counted(stretch.last_step - stretch.first_step, "step")
            yield f"{_named(stretch)} read {counted(read, 'pack')} in {steps} of {account.packs_per_step}"
    for before, after in pairwise(told.stretches):
        yield from _seam(before, after)


def _seam(before: Stretch, after: Stretch) -> Iterator[str]:
    if after.first_step != before.last_step:
        end = f"{_named(before)} ended at step {before.last_step}"
        yield f"{_named(after)} goes on after step {after.first_step}, {end}"
    packs = after.first_pack - before.end_pack
    between = f"between {_named(before)} and {_named(after)}"
    if packs > 0:
        yield f"{counted(packs, 'pack')} from pack {before.end_pack} on were never read, {between}"
    if packs < 0:
        yield f"{counted(-packs, 'pack')} from pack {after.first_pack} on were read twice, {between}"


def _is_as_long(stretch: Stretch, account: Account) -> bool:
    """The last step of an epoch at which the data ended then may have had fewer packs."""
    read = stretch.end_pack - stretch.first_pack
    wanted = (stretch.last_step - stretch.first_step) * account.packs_per_step
    is_short = 0 < wanted - read < account.packs_per_step
    return read == wanted or (is_short and stretch.end_pack in account.epoch_ends)


def _attempts(told: Told, attempts: int | None) -> Iterator[str]:
    """Attempts that the journal does not know; a step that a person starts by hand may be attempt 0."""
    if attempts is None:
        return
    known = {str(number) for number in range(attempts + 1)}
    for stretch in told.stretches:
        if stretch.attempt not in known:
            there = counted(attempts, "attempt")
            yield f"attempt {stretch.attempt} took steps, and the journal tells of {there}"


def _beginning(told: Told, stage: StageFiles, *, name: str) -> Iterator[Finding]:
    """Steps that no stretch tells of: an earlier version took them, or they are lost."""
    first = told.stretches[0] if told.stretches else None
    if first is None or (first.first_step, first.first_pack) == (0, 0):
        return
    is_explained = stage.is_resumed_from_elsewhere or any(
        as_old.state.whole("format") == OLD_FORMAT for as_old in stage.checkpoints
    )
    text = f"its stretches begin after step {first.first_step}, at pack {first.first_pack}"
    level: Level = "info" if is_explained else "error"
    remedy = "nothing; an earlier version took the steps before" if is_explained else _remedy(stage)
    yield Finding(level, name, text, remedy)


def _goes_on(before: Told, after: Told) -> bool:
    """Whether a checkpoint comes from an older one: the same stretches, of which the last may have grown."""
    if not before.stretches:
        return True
    shared = len(before.stretches) - 1
    if before.stretches[:shared] != after.stretches[:shared] or len(after.stretches) <= shared:
        return False
    old, new = before.stretches[shared], after.stretches[shared]
    same = (old.attempt, old.world_size, old.num_workers, old.first_step, old.first_pack)
    return same == (
        new.attempt,
        new.world_size,
        new.num_workers,
        new.first_step,
        new.first_pack,
    ) and (new.last_step >= old.last_step)


def _end(stage: StageFiles, told: Told, account: Account) -> Iterator[Finding]:
    """Whether a stage that came to the end of its data has read all of it."""
    if not stage.is_done or stage.result.values.get("reason") != DATA_END:
        return
    place = f"{stage.place}/{stage.checkpoints[-1].place.rpartition('/')[2]}"
    end = told.stretches[-1].end_pack if told.stretches else 0
    if end != account.total_packs:
        text = f"it ended at the end of the data after {end} of {counted(account.total_packs, 'pack')}"
        yield Finding("error", place, text, _remedy(stage))
    for source, planned in account.planned.items():
        read = told.counts.get(source, (0, 0))
        if read != planned:
            text = (
                f"of source {source!r} {counted(read[1], 'sample')} with {read[0]:,} tokens were read, "
                f"{counted(planned[1], 'sample')} with {planned[0]:,} tokens were planned"
            )
            yield Finding("error", place, text, _remedy(stage))


def _named(stretch: Stretch) -> str:
    return f"attempt {stretch.attempt} (steps {stretch.first_step + 1} to {stretch.last_step})"


def _remedy(stage: StageFiles) -> str:
    return (
        "what this stage read is not what was planned, or its records were changed; keep a copy to report "
        f"it, and train the stage afresh: runner MANIFEST --rerun {stage.name}"
    )
