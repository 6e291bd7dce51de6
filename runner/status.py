"""The status of a run as other programs read it: a pure function of its history and of what its files tell.

The form is fixed: {"run", "state", "stages": [{"name", "kind", "state", "step", "total_steps", "loss",
"tokens_per_second", "eta_seconds", "latest_checkpoint", "attempts", "reason"}]}; keys may be added.
Times are seconds since the epoch, shares from 0 to 1.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict

from runner.curves import finite
from runner.measured import headline_text, measured
from runner.story import Story, failure_of

if TYPE_CHECKING:
    from runner.history import History, Outcome, PlannedStep

SCHEMA_VERSION = 1
"""Of this form; grows when a key is renamed or removed."""

LARGEST_COUNT = 1 << 53
"""From here on a number of steps is none, and programs could not read it."""

Figures = Mapping[str, object]


class LastFailure(TypedDict):
    """The newest attempt at a step that failed; None: not known."""

    attempt: int
    fault: str | None
    """Class of the fault, such as out_of_gpu_memory."""
    rank: int | None
    host: str | None
    exception: str | None
    """Its first line."""
    reason: str | None


class StageStatus(TypedDict):
    """One step of the run; None: not known, or not of this kind of step."""

    name: str
    kind: str
    state: Outcome
    step: int | None
    total_steps: int | None
    loss: float | None
    tokens_per_second: float | None
    eta_seconds: float | None
    latest_checkpoint: str | None
    attempts: int
    reason: str | None
    progress_percentage: float | None
    validation_loss: float | None
    loss_curve: list[float]
    """The loss from the first step to the last, a few means."""
    mfu: float | None
    data_wait_share: float | None
    latest_checkpoint_time: float | None
    phase: str | None
    """What the ranks are at: set-up, data, step, evaluate, save or end."""
    last_updated_time: float | None
    """The newest sign of life."""
    running_seconds: float | None
    """Over all attempts that have ended."""
    last_failure: LastFailure | None
    hit_rate: float | None
    """Share of the hit rate's questions whose answer was in the list, at the last time."""
    headline: str | None
    """Of an evaluation: the model's figures beside those of the best simple model."""


class RunStatus(TypedDict):
    """A whole run."""

    schema_version: int
    run: str
    state: Outcome
    stages: list[StageStatus]
    reason: str | None
    started_time: float | None
    last_updated_time: float | None


@dataclass(frozen=True)
class StepFiles:
    """What the files of one step tell."""

    progress: Figures = field(default_factory=dict)
    """progress.json: done, total, eta_seconds, loss, tokens_per_second."""
    metrics: Figures = field(default_factory=dict)
    """The last row of metrics.jsonl: step, loss, tokens_per_second."""
    validation: Figures = field(default_factory=dict)
    """The last row of validation.jsonl."""
    hit_rate: Figures = field(default_factory=dict)
    """The last row of hit_rate.jsonl."""
    result: Figures = field(default_factory=dict)
    """result.json: step, total_steps, loss."""
    latest_checkpoint: str | None = None
    loss_curve: tuple[float, ...] = ()
    progress_time: float | None = None
    """When progress.json was written."""
    checkpoint_time: float | None = None
    """When the newest checkpoint was complete."""
    beat: Figures = field(default_factory=dict)
    """The newest sign of life of any rank: phase, step, time."""
    failure: Figures = field(default_factory=dict)
    """failure.json of the newest attempt that failed."""


def status(
    history: History,
    *,
    run: str,
    alive: bool,
    files: Mapping[str, StepFiles],
    story: Story = Story(),  # noqa: B008 - frozen
    lock_time: float | None = None,
) -> RunStatus:
    """The status of a run; `alive` says whether the runner that the history names still lives.

    `lock_time` is when it last showed itself.
    """
    signs = {step["name"]: _sign(step["name"], files, story) for step in history.steps}
    shown = lock_time if history.owner is not None else None
    last = max(filter(None, [story.last, shown, *signs.values()]), default=None)
    gone = _gone(history, since=last)
    stages = [
        _stage(step, history=history, alive=alive, gone=gone, files=files.get(step["name"], StepFiles()))
        for step in history.steps
    ]
    for stage in stages:
        _complete(stage, files.get(stage["name"], StepFiles()), story, sign=signs[stage["name"]])
    _tell_queued(stages, history)
    state = _run_state(history, alive=alive)
    return {
        "schema_version": SCHEMA_VERSION,
        "run": run,
        "state": state,
        "stages": stages,
        "reason": gone if state == "interrupted" and history.outcome == "running" else history.reason,
        "started_time": story.starts[0].time if story.starts else None,
        "last_updated_time": last,
    }


def _sign(name: str, files: Mapping[str, StepFiles], story: Story) -> float | None:
    """The newest sign of life of a step, by what was written, not by files that may be copies."""
    told = files.get(name, StepFiles())
    times = [told.progress_time, finite(told.beat.get("time")), finite(told.metrics.get("time"))]
    return max(filter(None, [story.last_time.get(name), *times]), default=None)


def _tell_queued(stages: list[StageStatus], history: History) -> None:
    """Give the stage that is next the job that it waits for as its reason."""
    if history.submission is not None and history.submission.is_queued:
        job = history.submission.job
        left = [stage for stage in stages if stage["state"] != "done"]
        for stage in left[:1]:
            stage["reason"] = f"queued as job {job} of Slurm; squeue --jobs={job} shows its turn"


def _run_state(history: History, *, alive: bool) -> Outcome:
    if history.submission is not None and history.submission.is_queued:
        return "pending"
    if history.outcome == "running" and not alive:
        return "interrupted"
    return history.outcome


def _gone(history: History, *, since: float | None) -> str:
    if history.owner is None:
        return "its runner has ended; run it again to go on"
    pid, host = history.owner["pid"], history.owner["host"]
    at = "" if since is None else time.strftime(" since %Y-%m-%d %H:%M:%S", time.localtime(since))
    return f"its runner (process {pid} on host {host}) is gone{at}; run it again to go on"


def _stage(step: PlannedStep, *, history: History, alive: bool, gone: str, files: StepFiles) -> StageStatus:
    """A step by history and figures; `_complete` adds the rest."""
    told = history.step(step["name"])
    state, reason = told.state, told.reason
    if state == "running" and not alive:
        state, reason = "interrupted", gone
    figures = _figures(step["kind"], state, files)
    has_run = state not in {"pending", "stale"}
    done, total = _whole(figures.get("step")), _whole(figures.get("total_steps"))
    is_current = files.progress_time is None or files.progress_time >= told.began
    return {
        "name": step["name"],
        "kind": step["kind"],
        "state": state,
        "step": done,
        "total_steps": total,
        "loss": finite(figures.get("loss")),
        "tokens_per_second": finite(figures.get("tokens_per_second")),
        # what an earlier attempt has written tells nothing about this one
        "eta_seconds": finite(figures.get("eta_seconds")) if state == "running" and is_current else None,
        "latest_checkpoint": files.latest_checkpoint if has_run else None,
        "attempts": told.attempts,
        "reason": reason,
        "progress_percentage": round(100 * done / total, 1) if done is not None and total else None,
        "validation_loss": finite(files.validation.get("loss")) if has_run else None,
        "loss_curve": list(files.loss_curve) if has_run else [],
        "mfu": finite(figures.get("mfu")),
        "data_wait_share": finite(figures.get("data_wait")),
        "latest_checkpoint_time": None,
        "phase": None,
        "last_updated_time": None,
        "running_seconds": told.seconds if told.seconds > 0 else None,
        "last_failure": None,
        "hit_rate": finite(files.hit_rate.get("hit_rate")) if has_run else None,
        "headline": _headline(step["kind"], state, files),
    }


def _headline(kind: str, state: Outcome, files: StepFiles) -> str | None:
    found = measured(files.result) if kind == "evaluate" and state == "done" else None
    return None if found is None else headline_text(found)


def _complete(stage: StageStatus, files: StepFiles, story: Story, *, sign: float | None) -> None:
    """What needs the story of a step, and the files of its ranks."""
    stage["last_updated_time"] = sign
    attempts = story.of(stage["name"])
    if stage["latest_checkpoint"] is not None:
        stage["latest_checkpoint_time"] = files.checkpoint_time
    if stage["state"] == "running":
        phase = files.beat.get("phase")
        stage["phase"] = phase if isinstance(phase, str) else None
    failed = [one for one in attempts if one.state == "failed"]
    if failed and stage["state"] not in {"pending", "stale"}:
        told = failure_of(files.failure) or failed[-1].failure
        stage["last_failure"] = {
            "attempt": failed[-1].number,
            "fault": told.kind if told else None,
            "rank": told.rank if told else None,
            "host": told.host if told else None,
            "exception": told.exception if told else None,
            "reason": failed[-1].reason,
        }


def _figures(kind: str, state: Outcome, files: StepFiles) -> Figures:
    """The newest that is known: result when done, else live progress, else the last logged row."""
    if state in {"pending", "stale"}:
        return {}
    live = {**files.progress, "step": files.progress.get("done"), "total_steps": files.progress.get("total")}
    layers = [files.metrics, live]
    if state == "done" and kind == "train":  # elsewhere `step` may mean another thing
        layers.append(files.result)
    return {key: value for layer in layers for key, value in layer.items() if value is not None}


def _whole(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST_COUNT
    return value if is_count else None  # type: ignore[return-value]
