from __future__ import annotations

import pytest

from runner.history import History, StepHistory, Submission, fold
from runner.journal import Event

OWNER = {"host": "host1", "boot_id": "b", "pid": 5, "start_ticks": 6}
STEPS = [{"name": "a", "kind": "train", "stage": "a", "folder": "a", "output_dir": "a"}]


def started(time: float = 0.0) -> Event:
    return {
        "event": "run_started",
        "time": time,
        "owner": OWNER,
        "steps": STEPS,
        "manifest_dir": "/m",
        "overrides": ["seed=2"],
    }


def began(step: str, *, attempt: int = 1, time: float = 0.0) -> Event:
    return {
        "event": "step_started",
        "time": time,
        "step": step,
        "attempt": attempt,
        "fingerprint": "f",
        "ingredients": {"x": 1},
    }


def over(step: str, state: str, *, time: float = 0.0, reason: str | None = None) -> Event:
    return {
        "event": "step_ended",
        "time": time,
        "step": step,
        "state": state,
        "reason": reason,
        "result": {"loss": 1},
    }


def test_no_events_are_no_run() -> None:
    assert fold([]) == History()
    assert fold([]).step("a") == StepHistory()


def test_a_step_that_began_runs_and_one_that_ended_is_as_it_ended() -> None:
    running = fold([started(), began("a", time=3)])
    assert running.step("a") == StepHistory("running", 1, "f", {"x": 1}, began=3)
    assert running.owner == OWNER
    done = fold([started(), began("a", time=3), over("a", "done", time=10)])
    assert done.step("a") == StepHistory("done", 1, "f", {"x": 1}, None, {"loss": 1}, seconds=7, began=3)


def test_the_time_of_all_attempts_adds_up() -> None:
    events = [
        began("a", time=0),
        over("a", "failed", time=2),
        began("a", attempt=2, time=10),
        over("a", "done", time=13),
    ]
    found = fold([started(), *events]).step("a")
    assert (found.seconds, found.attempts, found.state) == (5, 2, "done")


def test_what_a_killed_runner_left_running_was_interrupted_once_another_starts() -> None:
    found = fold([started(), began("a"), started(time=9)]).step("a")
    assert (found.state, found.reason) == ("interrupted", "its runner was killed")


def test_a_run_that_ended_has_no_owner() -> None:
    events = [started(), {"event": "run_ended", "state": "failed", "reason": "a: broke", "time": 1}]
    found = fold(events)
    assert (found.owner, found.outcome, found.reason) == (None, "failed", "a: broke")
    assert (found.manifest_dir, found.overrides) == ("/m", ("seed=2",))


def test_steps_made_invalid_are_stale_and_keep_their_number_of_attempts() -> None:
    event: Event = {"event": "steps_invalidated", "steps": ["a", "never run"], "reason": "again", "time": 5}
    found = fold([started(), began("a"), over("a", "done"), event])
    assert found.by_step == {"a": StepHistory("stale", attempts=1, reason="again")}
    assert (
        fold([started(), began("a"), over("a", "done"), event, began("a", attempt=2)]).step("a").state
        == "running"
    )


SUBMITTED: Event = {
    "event": "submitted",
    "time": 0.0,
    "job": "7",
    "steps": STEPS,
    "manifest_dir": "/m",
    "overrides": ["seed=2"],
    "rerun": ["a"],
}
REQUEUED: Event = {"event": "requeued", "time": 9.0, "job": "7", "reached": "a at step5"}
INVALIDATED: Event = {"event": "steps_invalidated", "steps": ["a"], "reason": "again", "time": 5}


@pytest.mark.parametrize(
    ("events", "submission"),
    [
        ([SUBMITTED], Submission("7", rerun=("a",), is_queued=True)),
        ([SUBMITTED, started()], Submission("7", rerun=("a",), is_queued=False)),
        ([SUBMITTED, started(), INVALIDATED], Submission("7", rerun=(), is_queued=False)),
        ([SUBMITTED, started(), began("a"), REQUEUED], Submission("7", rerun=(), is_queued=True)),
        ([SUBMITTED, {**SUBMITTED, "job": "8", "rerun": []}], Submission("8", rerun=(), is_queued=True)),
        ([started(), REQUEUED], None),
    ],
    ids=[
        *("queued", "begun, and killed before it noted what to run again", "noted", "queued again"),
        *("another job", "no job of ours"),
    ],
)
def test_a_job_waits_until_its_runner_starts_and_runs_again_what_it_was_asked_for_once(
    events: list[Event], submission: Submission | None
) -> None:
    assert fold(events).submission == submission


def test_a_run_that_is_only_submitted_is_known_already() -> None:
    found = fold([SUBMITTED])
    assert (found.steps, found.manifest_dir, found.overrides) == (tuple(STEPS), "/m", ("seed=2",))
    assert (found.owner, found.outcome, found.by_step) == (None, "pending", {})


def test_events_of_later_versions_change_nothing() -> None:
    assert fold([started(), {"event": "moon_phase", "time": 1}]) == fold([started()])
