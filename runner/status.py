"""The status of a run as other programs read it: a pure function of its history and of what its files tell.

The form is fixed: {"run", "state", "stages": [{"name", "kind", "state", "step", "total_steps", "loss",
"tokens_per_second", "eta_seconds", "latest_checkpoint", "attempts", "reason"}]}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from runner.history import History, Outcome, PlannedStep

Figures = Mapping[str, object]


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


class RunStatus(TypedDict):
    """A whole run."""

    run: str
    state: Outcome
    stages: list[StageStatus]


@dataclass(frozen=True)
class StepFiles:
    """What the files of one step tell."""

    progress: Figures = field(default_factory=dict)
    """progress.json: done, total, eta_seconds, loss, tokens_per_second."""
    metrics: Figures = field(default_factory=dict)
    """The last row of metrics.jsonl: step, loss, tokens_per_second."""
    result: Figures = field(default_factory=dict)
    """result.json: step, total_steps, loss."""
    latest_checkpoint: str | None = None


def status(history: History, *, run: str, alive: bool, files: Mapping[str, StepFiles]) -> RunStatus:
    """The status of a run; `alive` says whether the runner that the history names still lives."""
    gone = _gone(history)
    stages = [
        _stage(step, history=history, alive=alive, gone=gone, files=files.get(step["name"], StepFiles()))
        for step in history.steps
    ]
    _tell_queued(stages, history)
    return {"run": run, "state": _run_state(history, alive=alive), "stages": stages}


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


def _gone(history: History) -> str:
    if history.owner is None:
        return "its runner has ended; run it again to go on"
    pid, host = history.owner["pid"], history.owner["host"]
    return f"its runner (process {pid} on host {host}) is gone; run it again to go on"


def _stage(step: PlannedStep, *, history: History, alive: bool, gone: str, files: StepFiles) -> StageStatus:
    told = history.step(step["name"])
    state, reason = told.state, told.reason
    if state == "running" and not alive:
        state, reason = "interrupted", gone
    figures = _figures(step["kind"], state, files)
    return {
        "name": step["name"],
        "kind": step["kind"],
        "state": state,
        "step": _whole(figures.get("step")),
        "total_steps": _whole(figures.get("total_steps")),
        "loss": _number(figures.get("loss")),
        "tokens_per_second": _number(figures.get("tokens_per_second")),
        "eta_seconds": _number(figures.get("eta_seconds")) if state == "running" else None,
        "latest_checkpoint": files.latest_checkpoint if state not in {"pending", "stale"} else None,
        "attempts": told.attempts,
        "reason": reason,
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
    return value if isinstance(value, int) else None


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) else None
