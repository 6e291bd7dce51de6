"""What happened to a run, for people: its starts and the attempts at its steps, each with how it ended. Pure.

How the run stands now is told by runner.history; this keeps what that forgets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from runner.journal import Event
from runner.process import Identity

KILLED = "killed"
"""How something ended that never wrote an end: by kill -9, with its machine, or for want of memory."""
RUNNING = "running"


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed, as far as that is known."""

    kind: str | None = None
    """Class of the fault, such as out_of_gpu_memory."""
    rank: int | None = None
    host: str | None = None
    exception: str | None = None
    """First line of what the rank said."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at one step."""

    step: str
    number: int
    start: int
    """Which start of the run it belongs to, from 0."""
    began: float
    ended: float | None = None
    told_seconds: float | None = None
    """How long it took by a clock that cannot jump."""
    state: str = RUNNING
    """running, done, failed, interrupted or killed."""
    exit_code: int | None = None
    reason: str | None = None
    failure: Failure | None = None
    argv: tuple[tuple[str, ...], ...] = ()
    reads: tuple[str, ...] = ()
    """Steps that it read from."""
    event: int = 0
    """Number of the newest event that tells of it: clocks may jump, the journal's order does not."""

    @property
    def seconds(self) -> float | None:
        """How long it took; None while that is unknown, or when the clock went back."""
        if self.told_seconds is not None:
            return self.told_seconds
        return None if self.ended is None or self.ended < self.began else self.ended - self.began


@dataclass(frozen=True)
class Start:
    """One time that a runner was started on the run, or that a job was submitted for one."""

    time: float
    owner: Identity | None = None
    argv: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    environment: Mapping[str, object] = field(default_factory=dict)
    ended: float | None = None
    state: str = RUNNING
    reason: str | None = None
    exit_code: int | None = None
    event: int = 0
    """Number of the event that tells of it."""
    ended_event: int = 0


@dataclass(frozen=True)
class Invalidation:
    """That the outcome of earlier work no longer counts."""

    time: float
    steps: tuple[str, ...]
    reason: str
    event: int


@dataclass(frozen=True)
class Story:
    """A run from its first event to its last."""

    starts: tuple[Start, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    invalidated: tuple[Invalidation, ...] = ()
    last_time: Mapping[str, float] = field(default_factory=dict)
    """When the newest event of each step was written."""
    last: float | None = None
    """When the newest event was written."""

    def of(self, step: str) -> tuple[Attempt, ...]:
        """All attempts at a step, in order."""
        return tuple(attempt for attempt in self.attempts if attempt.step == step)


def tell(events: Sequence[Event]) -> Story:
    """The story of all events; kinds that are not known here change nothing but the time of the last."""
    story = Story()
    for number, event in enumerate(events, start=1):
        story = replace(_after(story, event, number), last=_number(event.get("time")))
    return story


def _after(story: Story, event: Event, number: int) -> Story:
    kind, time = event.get("event"), _number(event.get("time")) or 0.0
    if kind == "run_started":
        return replace(_cut_off(story), starts=(*_cut_off(story).starts, _start(event, time, number)))
    if kind == "run_ended" and story.starts:
        ended = replace(story.starts[-1], ended=time, ended_event=number, **_verdict(event))  # type: ignore[arg-type]
        return replace(story, starts=(*story.starts[:-1], ended))
    if kind == "step_started":
        story = _noting(story, event, time)
        return replace(story, attempts=(*story.attempts, _attempt(story, event, time, number)))
    if kind == "step_ended":
        return _step_ended(_noting(story, event, time), event, time, number)
    if kind == "steps_invalidated":
        steps = tuple(cast("list[str]", event["steps"]))
        told = Invalidation(time, steps, str(event["reason"]), number)
        return replace(story, invalidated=(*story.invalidated, told))
    return story


def _cut_off(story: Story) -> Story:
    """What the runner before this one left open was killed with it."""
    return replace(
        story,
        starts=tuple(replace(one, state=KILLED) if one.state == RUNNING else one for one in story.starts),
        attempts=tuple(replace(one, state=KILLED) if one.state == RUNNING else one for one in story.attempts),
    )


def _noting(story: Story, event: Event, time: float) -> Story:
    return replace(story, last_time={**story.last_time, str(event["step"]): time})


def _start(event: Event, time: float, number: int) -> Start:
    environment = event.get("environment")
    return Start(
        time=time,
        owner=cast("Identity", event.get("owner")),
        argv=_texts(event.get("argv")),
        overrides=_texts(event.get("overrides")),
        environment=environment if isinstance(environment, dict) else {},
        event=number,
    )


def _attempt(story: Story, event: Event, time: float, number: int) -> Attempt:
    argv = event.get("argv")
    return Attempt(
        step=str(event["step"]),
        number=cast("int", event["attempt"]),
        start=max(0, len(story.starts) - 1),
        began=time,
        argv=tuple(_texts(command) for command in argv) if isinstance(argv, list) else (),
        reads=_reads(event.get("ingredients")),
        event=number,
    )


def _reads(ingredients: object) -> tuple[str, ...]:
    """Steps named by `reads.0.sources: "prepare:sft:.@digest"`."""
    if not isinstance(ingredients, dict):
        return ()
    inputs = [str(value) for key, value in ingredients.items() if str(key).startswith("reads.")]
    steps = [value.rpartition("@")[0].rpartition(":")[0] for value in inputs if "@" in value]
    return tuple(dict.fromkeys(step for step in steps if step))


def _step_ended(story: Story, event: Event, time: float, number: int) -> Story:
    open_ones = [
        index
        for index, one in enumerate(story.attempts)
        if one.step == event["step"] and one.state == RUNNING
    ]
    if not open_ones:
        return story
    attempts = list(story.attempts)
    verdict = _verdict(event)
    told = event.get("failure")
    attempts[open_ones[-1]] = replace(
        attempts[open_ones[-1]],
        ended=time,
        event=number,
        told_seconds=_number(event.get("seconds")),
        failure=failure_of(told) if isinstance(told, dict) else None,
        **verdict,  # type: ignore[arg-type]
    )
    return replace(story, attempts=tuple(attempts))


def _verdict(event: Event) -> dict[str, object]:
    reason, code = event.get("reason"), event.get("exit_code")
    return {
        "state": str(event.get("state")),
        "reason": None if reason is None else str(reason),
        "exit_code": code if isinstance(code, int) else None,
    }


def failure_of(document: Mapping[str, object]) -> Failure | None:
    """What a failure.json, or its part in the journal, tells of a fault; None where it tells nothing."""
    rank = document.get("rank")
    failure = Failure(
        kind=_text(document.get("kind")),
        rank=rank if isinstance(rank, int) and not isinstance(rank, bool) else None,
        host=_text(document.get("host")),
        exception=_text(document.get("exception")),
    )
    return None if failure == Failure() else failure


def _text(value: object) -> str | None:
    return value.strip().split("\n")[0] if isinstance(value, str) and value.strip() else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
