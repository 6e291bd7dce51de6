"""Whether a step that is done has left what it promised: its result, its outputs, its final checkpoint. Pure.

The files are looked at by `read_results`; what is gone is made again by the next start.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.doctor.diagnosis import Check, Finding
from runner.doctor.documents import Document, read_object
from runner.report import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from runner.doctor.diagnosis import Standing
    from runner.history import PlannedStep, StepHistory
    from runner.rundir import RunDir, StepDir


@dataclass(frozen=True)
class StepResult:
    """What is there of one step that is done."""

    name: str
    kind: str
    place: str
    """Where it writes, relative to the run directory."""
    told: StepHistory
    result: Document
    missing: tuple[str, ...] = ()
    """Places of outputs that are not there."""
    checkpoints: tuple[int, ...] = ()
    """Of training: steps of its complete checkpoints."""
    converted: str | None = None
    """Of a conversion: place that the link `converted` leads to."""
    wanted: str | None = None
    """Of a conversion: place of the folder made from the stage's final checkpoint, or from its best one."""


def read_results(run: RunDir, steps: Sequence[PlannedStep], told: Sequence[StepHistory]) -> list[StepResult]:
    """Every step that is done."""
    pairs = zip(steps, told, strict=True)
    return [_read(run, step, history) for step, history in pairs if history.state == "done"]


def check_results(results: Sequence[StepResult], standing: Standing) -> Check:
    """What is missing of the steps that are done."""
    findings = [finding for result in results for finding in _of_step(result, standing)]
    return Check("results", f"{counted(len(results), 'step')} done", tuple(findings))


def _read(run: RunDir, step: PlannedStep, told: StepHistory) -> StepResult:
    home, stage = run.step(step["output_dir"]), run.stage(step["stage"])
    outputs = _outputs(step["kind"], home, stage)
    found = StepResult(
        name=step["name"],
        kind=step["kind"],
        place=step["output_dir"],
        told=told,
        result=read_object(home.result),
        missing=tuple(run.inside(str(path)) for path in outputs if not path.exists()),
        checkpoints=tuple(home.checkpoints()) if step["kind"] == "train" else (),
    )
    if step["kind"] != "convert" or not stage.converted.is_symlink():
        return found
    takes_best = read_object(home.config).values.get("best") is True
    taken = read_object(stage.best if takes_best else stage.result).whole("step")
    wanted = None if taken is None else _place(run, stage.converted_checkpoint(taken))
    return StepResult(**{**vars(found), "converted": _place(run, stage.converted), "wanted": wanted})


def _outputs(kind: str, home: StepDir, stage: StepDir) -> list[Path]:
    """Files and folders that are there once a step of a kind is done."""
    return {
        "train": [home.latest],
        "convert": [stage.converted],
        "prepare": [home.summary],
        "init_model": [home.model],
        "expand_vocab": [home.model],
        "evaluate": [home.evaluation, home.ranks],
    }.get(kind, [])


def _place(run: RunDir, path: Path) -> str:
    """Where a path leads, relative to the run directory where it is in it."""
    return os.path.relpath(os.path.realpath(path), os.path.realpath(run.path))


def _of_step(step: StepResult, standing: Standing) -> Iterator[Finding]:
    remedy = f"it is made again by: {standing.resume}"
    attempt, place = step.told.attempts, f"{step.place}/result.json"
    if step.result.fault is not None:
        text = f"{step.name} is done, and its result {step.result.fault}"
        yield Finding("error", place, text, remedy)
    elif standing.is_told and step.result.values.get("attempt") != attempt:
        text = f"{step.name} is done with attempt {attempt}, and its result is of another one"
        yield Finding("error", place, text, remedy)
    for missing in step.missing:
        yield Finding("error", missing, f"{step.name} is done, and this output of it is gone", remedy)
    if step.kind == "train":
        yield from _final_checkpoint(step)
    if not step.missing and step.wanted is not None and step.converted != step.wanted:
        text = f"it leads to {step.converted}, and the stage's model is {step.wanted}"
        place = f"{step.place.rpartition('/')[0]}/converted"
        yield Finding("error", place, text, f"convert it again: runner MANIFEST --rerun {step.name}")


def _final_checkpoint(step: StepResult) -> Iterator[Finding]:
    final = step.result.whole("step")
    if final is not None and final not in step.checkpoints:
        text = f"{step.name} ended at step {final}, and there is no complete checkpoint of that step"
        remedy = f"restore step{final} from a copy, or make it again: runner MANIFEST --rerun {step.name}"
        yield Finding("error", step.place, text, remedy)
