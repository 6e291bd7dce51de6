"""Whether the events of a journal can have happened in this order: what is legal in each state of a run.

Pure. A runner does the steps of its plan in order, one attempt at a time, and never one that is done, unless
its outputs are gone or a person asked for it. One that is killed tells nothing more: the next may follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from runner.history import History, after

if TYPE_CHECKING:
    from runner.journal import Event

ENDINGS = ("done", "failed", "interrupted")


@dataclass(frozen=True)
class _Runner:
    """What the newest runner has done so far."""

    has_begun: bool = False
    """Whether it has started a step."""
    is_stopped: bool = False
    """Whether one of its steps was interrupted, after which nothing is started."""
    done: frozenset[str] = frozenset()
    """Steps that it brought to their end."""


Rule = Callable[["Event", History, _Runner], Iterator[str]]


def violations(events: Sequence[Event]) -> list[tuple[int, str]]:
    """Number of the event, from 1, and what cannot have happened; events are of sound form."""
    found = []
    history, runner = History(), _Runner()
    for number, event in enumerate(events, start=1):
        rule = RULES.get(str(event["event"]))
        if rule is not None:
            found += [(number, text) for text in rule(event, history, runner)]
        history, runner = after(history, event), _runner_after(runner, event)
    return found


def backward_times(events: Sequence[Event]) -> list[int]:
    """Numbers, from 1, of the events that are older than the one before them."""
    times = [cast("float", event["time"]) for event in events]
    return [number for number in range(2, len(times) + 1) if times[number - 1] < times[number - 2]]


def _runner_after(runner: _Runner, event: Event) -> _Runner:
    kind = event["event"]
    if kind == "run_started":
        return _Runner()
    if kind == "step_started":
        return replace(runner, has_begun=True)
    if kind == "step_ended" and event["state"] == "done":
        return replace(runner, done=runner.done | {str(event["step"])})
    if kind == "step_ended" and event["state"] == "interrupted":
        return replace(runner, is_stopped=True)
    return runner


def _plan_told(event: Event, _history: History, _runner: _Runner) -> Iterator[str]:
    names = [step["name"] for step in cast("list[dict[str, str]]", event["steps"])]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        yield f"its plan has {' and '.join(doubled)} twice"


def _run_ended(event: Event, history: History, _runner: _Runner) -> Iterator[str]:
    if history.owner is None:
        yield "a run ended that no runner was at work on"
        return
    yield from _ending(event)
    running = _running(history)
    # a disk that is full may take the end of the run and not that of its step
    if running is not None and event["state"] != "failed":
        yield f"the run ended {event['state']} while {running} was running"
    undone = [step["name"] for step in history.steps if history.step(step["name"]).state != "done"]
    if event["state"] == "done" and undone:
        yield f"the run ended done, but {', '.join(undone)} was not"


def _step_started(event: Event, history: History, runner: _Runner) -> Iterator[str]:
    name = str(event["step"])
    if history.owner is None:
        yield f"{name} was started when no runner was at work"
        return
    names = [step["name"] for step in history.steps]
    if name not in names:
        yield f"{name} was started and is no step of the plan"
        return
    running = _running(history)
    if running is not None:
        yield f"{name} was started while {running} was running"
    if runner.is_stopped:
        yield f"{name} was started after the same runner was stopped"
    undone = [before for before in names[: names.index(name)] if history.step(before).state != "done"]
    if undone:
        yield f"{name} was started before {', '.join(undone)} was done"
    yield from _attempt(event, history, runner)


def _attempt(event: Event, history: History, runner: _Runner) -> Iterator[str]:
    """Whether an attempt follows the ones before it."""
    name, told = str(event["step"]), history.step(str(event["step"]))
    if event["attempt"] != told.attempts + 1:
        yield f"attempt {event['attempt']} of {name} follows attempt {told.attempts}"
    if told.state != "done":
        return
    if name in runner.done:
        yield f"{name} was started again by the runner that had done it"
    elif event["fingerprint"] != told.fingerprint:
        yield f"{name} was done with other settings, and was started again without being asked for"


def _step_ended(event: Event, history: History, _runner: _Runner) -> Iterator[str]:
    name = str(event["step"])
    if history.owner is None:
        yield f"{name} ended when no runner was at work"
    elif history.step(name).state != "running":
        yield f"{name} ended without having been started"
    yield from _ending(event)


def _steps_invalidated(event: Event, history: History, runner: _Runner) -> Iterator[str]:
    if history.owner is None or runner.has_begun:
        yield "steps were made invalid when no runner was about to begin"
    for name in cast("list[str]", event["steps"]):
        if history.step(name).state in {"pending", "stale"}:
            yield f"{name} was made invalid and had no outcome"


def _requeued(event: Event, history: History, _runner: _Runner) -> Iterator[str]:
    if history.owner is not None:
        yield f"job {event['job']} was queued again while a runner was at work"


def _ending(event: Event) -> Iterator[str]:
    state, code = event["state"], event["exit_code"]
    if state not in ENDINGS:
        yield f"it ended {state}, which is no ending"
    elif (state == "done") != (code == 0):
        yield f"it ended {state} with exit code {code}"


def _running(history: History) -> str | None:
    """The step that the newest runner is at."""
    return next((name for name, step in history.by_step.items() if step.state == "running"), None)


RULES: dict[str, Rule] = {
    "run_started": _plan_told,
    "submitted": _plan_told,
    "requeued": _requeued,
    "run_ended": _run_ended,
    "step_started": _step_started,
    "step_ended": _step_ended,
    "steps_invalidated": _steps_invalidated,
}
