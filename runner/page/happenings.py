"""What happened to a run, in order: starts, stops, faults; and each attempt as a row of a table. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runner.page.gather import Record
from runner.page.wording import moment
from runner.report import duration
from runner.story import KILLED, RUNNING, Attempt, Start


@dataclass(frozen=True)
class HappeningView:
    """One thing that happened to the run."""

    at: str
    state: str
    text: str
    lines: tuple[str, ...] = ()


def happenings(record: Record) -> Iterator[HappeningView]:
    """Starts, stops and faults in order; attempts that just ended well are in the table of attempts."""
    story = record.story
    found: list[tuple[int, HappeningView]] = []
    for number, start in enumerate(story.starts):
        before = story.starts[number - 1] if number else None
        mine = [one for one in story.attempts if one.start == number]
        found.append((start.event, _start_view(start, before)))
        found += [(one.event, view) for one in mine for view in _fault(record, one)]
        if start.ended is not None:
            found.append((start.ended_event, _end_view(start)))
        elif start.state == KILLED or record.status["state"] != "running":
            found.append(_killed(start, mine))
    for one in story.invalidated:
        text = f"set aside: {', '.join(one.steps)}; {one.reason}"
        found.append((one.event, HappeningView(moment(one.time), "stale", text)))
    yield from (view for _, view in sorted(found, key=lambda pair: pair[0]))


def _killed(start: Start, attempts: Sequence[Attempt]) -> tuple[int, HappeningView]:
    """After which event a start was killed, as far as the journal knows, and the words for it."""
    newest = max(attempts, key=lambda one: one.event, default=None)
    at = start.time if newest is None else newest.ended or newest.began
    text = "its runner was killed: it wrote no end (kill -9, a lost machine, or want of memory)"
    event = start.event if newest is None else newest.event
    return event, HappeningView(f"after {moment(at)}", KILLED, text)


def _start_view(start: Start, before: Start | None) -> HappeningView:
    """Who started it, and with which settings where they are others than before."""
    who = "" if start.owner is None else f" by process {start.owner['pid']} on host {start.owner['host']}"
    is_other = start.overrides != (before.overrides if before else ())
    overrides = "".join(f" --set {text}" for text in start.overrides) or " no --set"
    verb = "started" if before is None else "went on"
    return HappeningView(moment(start.time), RUNNING, f"{verb}{who}" + (f";{overrides}" if is_other else ""))


def _end_view(start: Start) -> HappeningView:
    code = "" if start.exit_code is None else f" with exit code {start.exit_code}"
    reason = f": {start.reason}" if start.reason else ""
    return HappeningView(moment(start.ended), start.state, f"ended{code}, {start.state}{reason}")


def _fault(record: Record, attempt: Attempt) -> Iterator[HappeningView]:
    end = fate(record, attempt)
    if end not in {"failed", KILLED}:
        return
    step = next((one for one in record.steps if one.step["name"] == attempt.step), None)
    lines = step.last_words.get(attempt.number, ()) if step and end == "failed" else ()
    text = f"{attempt.step}, attempt {attempt.number}: {_why(attempt, end)}"
    yield HappeningView(moment(attempt.ended or attempt.began), end, text, tuple(lines))


def _why(attempt: Attempt, end: str) -> str:
    if end == KILLED:
        return "killed with its runner"
    kind = f"{attempt.failure.kind.replace('_', ' ')}: " if attempt.failure and attempt.failure.kind else ""
    return kind + (attempt.reason or "failed")


def attempt_row(record: Record, attempt: Attempt) -> tuple[str, ...]:
    """Step, number, beginning, time, state, exit code, class of fault, rank, why."""
    end = fate(record, attempt)
    failure = attempt.failure
    rank = "" if failure is None or failure.rank is None else f"rank {failure.rank}"
    host = "" if failure is None or failure.host is None else f" on {failure.host}"
    return (
        attempt.step,
        str(attempt.number),
        moment(attempt.began),
        "" if attempt.seconds is None else duration(attempt.seconds),
        end,
        "" if attempt.exit_code is None else str(attempt.exit_code),
        (failure.kind or "").replace("_", " ") if failure else "",
        rank + host,
        (failure.exception if failure else None) or attempt.reason or "",
    )


def fate(record: Record, attempt: Attempt) -> str:
    """The state of an attempt; one that was never ended and whose runner is gone was killed."""
    return KILLED if attempt.state == RUNNING and record.status["state"] != "running" else attempt.state
