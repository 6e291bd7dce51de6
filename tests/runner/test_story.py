from __future__ import annotations

from typing import Any

from runner.story import KILLED, Attempt, Failure, Invalidation, Start, Story, failure_of, tell

OWNER = {"host": "host1", "boot_id": "b", "pid": 5, "start_ticks": 6}
READS = {
    "kind": "train",
    "reads.0.a": "prepare:x:.@12",
    "reads.1.b": "first:convert:../c@34",
    "reads.2.c": "digest",
}
BROKE = {"kind": "crash", "rank": 3, "host": "host2", "exception": "SIGSEGV", "log": "x", "collateral": [1]}


def events(*told: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"time": float(number), **event} for number, event in enumerate(told, start=1)]


def started(**more: Any) -> dict[str, Any]:
    return {"event": "run_started", "owner": OWNER, "argv": ["runner"], "overrides": ["seed=2"], **more}


def began(number: int = 1) -> dict[str, Any]:
    return {
        "event": "step_started",
        "step": "a",
        "attempt": number,
        "argv": [["x", "y"]],
        "ingredients": READS,
    }


def ended(state: str, **more: Any) -> dict[str, Any]:
    return {"event": "step_ended", "step": "a", "state": state, "exit_code": 1, "reason": "why", **more}


def test_an_attempt_is_told_from_its_beginning_to_its_end() -> None:
    story = tell(
        events(started(environment={"host": "h"}), began(), ended("failed", failure=BROKE, seconds=9.5))
    )
    attempt = Attempt(
        step="a",
        number=1,
        start=0,
        began=2.0,
        ended=3.0,
        told_seconds=9.5,
        state="failed",
        exit_code=1,
        reason="why",
        failure=Failure("crash", 3, "host2", "SIGSEGV"),
        argv=(("x", "y"),),
        reads=("prepare:x", "first:convert"),
        event=3,
    )
    start = Start(1.0, OWNER, ("runner",), ("seed=2",), {"host": "h"}, event=1)  # type: ignore[arg-type]
    assert story == Story((start,), (attempt,), (), {"a": 3.0}, 3.0)
    assert story.attempts[0].seconds == 9.5


def test_what_a_runner_left_open_was_killed_once_another_has_started() -> None:
    story = tell(
        events(
            started(), began(), started(), began(2), ended("done"), {"event": "run_ended", "state": "done"}
        )
    )
    assert [start.state for start in story.starts] == [KILLED, "done"]
    assert [(one.number, one.start, one.state) for one in story.of("a")] == [(1, 0, KILLED), (2, 1, "done")]


def test_work_that_was_set_aside_is_told() -> None:
    story = tell(
        events(started(), {"event": "steps_invalidated", "steps": ["a", "b"], "reason": "to be run again"})
    )
    assert story.invalidated == (Invalidation(2.0, ("a", "b"), "to be run again", 2),)


def test_a_clock_that_went_back_gives_no_negative_time() -> None:
    back = [
        {**event, "time": time}
        for event, time in zip((started(), began(), ended("done")), (9, 8, 2), strict=True)
    ]
    assert tell(back).attempts[0].seconds is None


def test_events_of_other_versions_change_nothing() -> None:
    story = tell(events({"event": "of_tomorrow"}, ended("done"), {"event": "run_ended", "state": "done"}))
    assert (story.starts, story.attempts, story.last) == ((), (), 3.0)


def test_a_failure_that_tells_nothing_is_none() -> None:
    assert failure_of({}) is None
    assert failure_of({"rank": True, "exception": "  ", "kind": 3}) is None
    assert failure_of({"exception": "ValueError: no\nmore"}) == Failure(exception="ValueError: no")
