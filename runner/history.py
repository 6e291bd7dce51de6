"""What the events of a journal add up to: the steps of the run, and how each of them stands. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypedDict, cast

from runner.journal import Event
from runner.process import Identity

Outcome = Literal["pending", "running", "done", "failed", "interrupted", "stale"]


class PlannedStep(TypedDict):
    """One step as the journal lists it; both folders are relative to the run directory."""

    name: str
    kind: str
    stage: str
    folder: str
    output_dir: str


@dataclass(frozen=True)
class StepHistory:
    """How one step stands by the journal alone; `running` may mean that its runner died."""

    state: Outcome = "pending"
    attempts: int = 0
    fingerprint: str | None = None
    ingredients: Mapping[str, object] = field(default_factory=dict)
    reason: str | None = None
    result: Mapping[str, object] = field(default_factory=dict)
    outputs: Mapping[str, object] = field(default_factory=dict)
    """What it left, measured when it was done (runner.outputs)."""
    seconds: float = 0.0
    """Running time, over all attempts since it was last made invalid."""
    began: float = 0.0
    """When the newest attempt started, in seconds since the epoch."""


@dataclass(frozen=True)
class Submission:
    """A job of Slurm that is to go on with the run."""

    job: str
    rerun: tuple[str, ...] = ()
    """Steps that it was asked to run again, until it has begun to."""
    is_queued: bool = True
    """Whether no runner has started since it was queued."""


@dataclass(frozen=True)
class History:
    """A run by its journal."""

    steps: tuple[PlannedStep, ...] = ()
    by_step: Mapping[str, StepHistory] = field(default_factory=dict)
    owner: Identity | None = None
    """The runner that started last; None once it has ended."""
    since: float = 0.0
    outcome: Outcome = "pending"
    """How the newest runner ended, or `running`."""
    reason: str | None = None
    manifest_dir: str | None = None
    overrides: tuple[str, ...] = ()
    submission: Submission | None = None

    def step(self, name: str) -> StepHistory:
        """How a step stands; one that never started is pending."""
        return self.by_step.get(name, StepHistory())


def fold(events: Sequence[Event]) -> History:
    """The state after all events; events of kinds that are not known here change nothing."""
    history = History()
    for event in events:
        history = after(history, event)
    return history


def after(history: History, event: Event) -> History:
    """The state after one more event."""
    change = _CHANGES.get(str(event["event"]))
    return history if change is None else change(history, event)


def _submitted(history: History, event: Event) -> History:
    return replace(
        history,
        steps=tuple(cast("list[PlannedStep]", event["steps"])),
        manifest_dir=cast("str", event["manifest_dir"]),
        overrides=tuple(cast("list[str]", event["overrides"])),
        submission=Submission(cast("str", event["job"]), tuple(cast("list[str]", event["rerun"]))),
    )


def _with_submission(history: History, **changes: Any) -> History:
    """The history with its submission changed, where there is one."""
    if history.submission is None:
        return history
    return replace(history, submission=replace(history.submission, **changes))


def _run_started(history: History, event: Event) -> History:
    return replace(
        _with_submission(history, is_queued=False),
        steps=tuple(cast("list[PlannedStep]", event["steps"])),
        owner=cast("Identity", event["owner"]),
        since=cast("float", event["time"]),
        outcome="running",
        reason=None,
        manifest_dir=cast("str", event["manifest_dir"]),
        overrides=tuple(cast("list[str]", event["overrides"])),
        by_step={name: _cut_off(step) for name, step in history.by_step.items()},
    )


def _cut_off(step: StepHistory) -> StepHistory:
    """A step that the runner before this one left running."""
    if step.state != "running":
        return step
    return replace(step, state="interrupted", reason="its runner was killed")


def _run_ended(history: History, event: Event) -> History:
    outcome, reason = cast("Outcome", event["state"]), cast("str | None", event.get("reason"))
    return replace(history, owner=None, outcome=outcome, reason=reason)


def _with_step(
    history: History, event: Event, change: Callable[[StepHistory, Event], StepHistory]
) -> History:
    name = cast("str", event["step"])
    return replace(history, by_step={**history.by_step, name: change(history.step(name), event)})


def _step_started(step: StepHistory, event: Event) -> StepHistory:
    return replace(
        step,
        state="running",
        attempts=cast("int", event["attempt"]),
        fingerprint=cast("str", event["fingerprint"]),
        ingredients=cast("dict[str, object]", event["ingredients"]),
        reason=None,
        result={},
        began=cast("float", event["time"]),
    )


def _step_ended(step: StepHistory, event: Event) -> StepHistory:
    return replace(
        step,
        state=cast("Outcome", event["state"]),
        reason=cast("str | None", event.get("reason")),
        result=cast("dict[str, object]", event.get("result") or {}),
        outputs=cast("dict[str, object]", event.get("outputs") or {}),
        seconds=step.seconds + _duration(step, event),
    )


def _duration(step: StepHistory, event: Event) -> float:
    """Seconds of an attempt as its runner measured them; else by the times, whose clock may jump."""
    told = event.get("seconds")
    return told if isinstance(told, (int, float)) else max(0.0, cast("float", event["time"]) - step.began)


def _invalidated(history: History, event: Event) -> History:
    names, reason = cast("list[str]", event["steps"]), cast("str", event["reason"])
    history = _with_submission(history, rerun=())
    changed = {
        name: StepHistory(state="stale", attempts=history.by_step[name].attempts, reason=reason)
        for name in names
        if name in history.by_step
    }
    return replace(history, by_step={**history.by_step, **changed})


_CHANGES: Mapping[str, Callable[[History, Event], History]] = {
    "submitted": _submitted,
    "requeued": lambda history, _: _with_submission(history, is_queued=True),
    "run_started": _run_started,
    "run_ended": _run_ended,
    "step_started": lambda history, event: _with_step(
        _with_submission(history, rerun=()), event, _step_started
    ),
    "step_ended": lambda history, event: _with_step(history, event, _step_ended),
    "steps_invalidated": _invalidated,
}
"""What each kind of event changes."""
