"""Whether metrics, validation.jsonl and hit_rate.jsonl tell a row for each step once, and of no others.

Pure. A run that goes on drops rows past its checkpoint and a torn line by itself.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

from runner.doctor.diagnosis import Check, Finding
from runner.doctor.documents import as_whole
from runner.report import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runner.doctor.diagnosis import Standing
    from runner.doctor.stage_files import StageFiles


def check_rows(stages: Sequence[StageFiles], standing: Standing) -> Check:
    """Lines that are no rows, steps told twice or out of order, steps past the end of a stage."""
    findings = [
        finding
        for stage in stages
        for place, lines in stage.rows
        for finding in _of_file(place, lines, stage=stage, standing=standing)
    ]
    count = sum(len(lines) for stage in stages for _, lines in stage.rows)
    return Check("metrics", counted(count, "row"), tuple(findings))


def _of_file(
    place: str, lines: Sequence[bytes], *, stage: StageFiles, standing: Standing
) -> Iterator[Finding]:
    whole = [line for line in lines if line.endswith(b"\n")]
    if len(whole) < len(lines) and not standing.is_alive:
        text = f"the last line is torn ({len(lines[-1])} bytes): its writer was killed"
        yield Finding("info", place, text, "nothing; the stage drops it when it goes on")
    strange = [line for line in whole if _step(line) is None]
    if strange:
        text = f"{counted(len(strange), 'line')} without a row that has a step, first {strange[0][:40]!r}"
        yield Finding("error", place, text, _remedy(stage))
    last_step = stage.result.whole("step") if stage.is_done else None
    steps = [step for step in map(_step, whole) if step is not None]
    yield from (
        Finding("error", place, fault, _remedy(stage)) for fault in _faults(steps, last_step=last_step)
    )


def _remedy(stage: StageFiles) -> str:
    if stage.is_done:
        return "curves drawn from it are wrong there; the checkpoints do not depend on it"
    return "the stage drops what is no row, and rows past its checkpoint, when it goes on"


def _faults(steps: Sequence[int], *, last_step: int | None) -> Iterator[str]:
    """One sentence for each kind of fault, naming the first of them; `last_step` is the stage's end."""
    back = [step for before, step in pairwise(steps) if step <= before]
    if back:
        more = f", and {len(back) - 1} more" if len(back) > 1 else ""
        yield f"step {back[0]} is told again or out of order{more}"
    if last_step is not None and steps and max(steps) > last_step:
        yield f"it tells of step {max(steps)}, and the stage ended at step {last_step}"


def _step(line: bytes) -> int | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return as_whole(row.get("step")) if isinstance(row, dict) else None
