from __future__ import annotations

import time
from typing import Any

import pytest

from runner.history import History, StepHistory, Submission, fold
from runner.status import StepFiles, status
from runner.story import tell

OWNER = {"host": "host1", "boot_id": "b", "pid": 5, "start_ticks": 6}
LIVE = StepFiles(
    progress={"done": 7, "total": 20, "loss": 0.5, "tokens_per_second": 99.0, "eta_seconds": 3.0},
    metrics={"step": 5, "loss": 0.6, "tokens_per_second": 90.0, "mfu": 0.4, "data_wait": 0.01, "time": 99.0},
    validation={"step": 5, "loss": 0.75},
    result={"step": 20, "total_steps": 20, "loss": 0.25},
    latest_checkpoint="step5",
    loss_curve=(2.0, 0.5),
    progress_time=100.0,
    checkpoint_time=90.0,
    beat={"phase": "save", "step": 7, "time": 101.0},
)


def told(
    state: str, files: StepFiles = LIVE, *, alive: bool = True, kind: str = "train", **more: Any
) -> dict[str, Any]:
    """Status of the one step of a run."""
    step = {"name": "a", "kind": kind, "stage": "a", "folder": "a", "output_dir": "a"}
    history = History(
        steps=(step,),  # type: ignore[arg-type]
        by_step={"a": StepHistory(state=state, attempts=2, **more)},  # type: ignore[arg-type]
        owner=OWNER,  # type: ignore[arg-type]
        outcome="running",
    )
    document = status(history, run="small", alive=alive, files={"a": files})
    return dict(document["stages"][0])


def test_the_form_is_fixed() -> None:
    found = status(History(), run="small", alive=False, files={})
    assert found == {
        "schema_version": 1,
        "run": "small",
        "state": "pending",
        "stages": [],
        "reason": None,
        "started_time": None,
        "last_updated_time": None,
    }


def test_a_running_step_is_told_live() -> None:
    assert told("running") == {
        "name": "a",
        "kind": "train",
        "state": "running",
        "step": 7,
        "total_steps": 20,
        "loss": 0.5,
        "tokens_per_second": 99.0,
        "eta_seconds": 3.0,
        "latest_checkpoint": "step5",
        "attempts": 2,
        "reason": None,
        "progress_percentage": 35.0,
        "validation_loss": 0.75,
        "loss_curve": [2.0, 0.5],
        "mfu": 0.4,
        "data_wait_share": 0.01,
        "latest_checkpoint_time": 90.0,
        "phase": "save",
        "last_updated_time": 101.0,
        "running_seconds": None,
        "last_failure": None,
        "hit_rate": None,
        "headline": None,
    }


def test_a_done_step_is_told_by_its_result() -> None:
    found = told("done")
    assert (found["step"], found["total_steps"], found["loss"], found["eta_seconds"]) == (20, 20, 0.25, None)
    assert found["tokens_per_second"] == 99.0


def test_the_result_of_a_conversion_names_a_checkpoint_and_no_progress() -> None:
    files = StepFiles(progress={"done": 46, "total": 46}, result={"step": 3})
    found = told("done", files, kind="convert")
    assert (found["step"], found["total_steps"]) == (46, 46)


def test_without_live_progress_the_last_logged_row_is_told() -> None:
    found = told("failed", StepFiles(metrics={"step": 5, "loss": 0.6}), reason="broke")
    assert (found["step"], found["loss"], found["total_steps"], found["reason"]) == (5, 0.6, None, "broke")


@pytest.mark.parametrize("state", ["pending", "stale"])
def test_what_has_not_run_tells_nothing_of_what_was_there_before(state: str) -> None:
    found = told(state)
    assert [found[key] for key in ("step", "loss", "eta_seconds", "latest_checkpoint")] == [None] * 4


def test_a_step_whose_runner_is_gone_is_never_running() -> None:
    found = told("running", alive=False)
    assert (found["state"], found["eta_seconds"]) == ("interrupted", None)
    assert str(found["reason"]).startswith("its runner (process 5 on host host1) is gone since ")


@pytest.mark.parametrize(
    ("outcome", "alive", "state"),
    [
        ("running", True, "running"),
        ("running", False, "interrupted"),
        ("done", False, "done"),
        ("failed", False, "failed"),
        ("interrupted", False, "interrupted"),
        ("pending", False, "pending"),
    ],
)
def test_the_run_is_as_its_newest_runner_ended(outcome: Any, alive: bool, state: str) -> None:
    assert status(History(outcome=outcome), run="small", alive=alive, files={})["state"] == state


@pytest.mark.parametrize("is_queued", [True, False])
def test_a_run_that_waits_for_its_job_says_so_at_the_stage_that_is_next(is_queued: bool) -> None:
    names = ("a", "b", "c")
    steps = [
        {"name": name, "kind": "train", "stage": name, "folder": name, "output_dir": name} for name in names
    ]
    history = History(
        steps=tuple(steps),  # type: ignore[arg-type]
        by_step={"a": StepHistory("done"), "b": StepHistory("interrupted", reason="stopped on request")},
        outcome="interrupted",
        submission=Submission("7", is_queued=is_queued),
    )
    found = status(history, run="small", alive=False, files={})
    queued = "queued as job 7 of Slurm; squeue --jobs=7 shows its turn"
    assert (found["state"], [stage["reason"] for stage in found["stages"]]) == (
        ("pending", [None, queued, None])
        if is_queued
        else ("interrupted", [None, "stopped on request", None])
    )


def test_the_time_left_that_an_earlier_attempt_told_is_not_that_of_this_one() -> None:
    assert told("running", began=100.5)["eta_seconds"] is None
    assert told("running", began=99.5)["eta_seconds"] == 3.0


def test_figures_that_are_none_are_not_told() -> None:
    files = StepFiles(progress={"done": 10**400, "total": True, "loss": float("nan"), "eta_seconds": "soon"})
    found = told("running", files)
    assert {found[key] for key in ("step", "total_steps", "loss", "eta_seconds", "progress_percentage")} == {
        None
    }


Events = list[dict[str, Any]]
STEPS = [{"name": name, "kind": "train", "stage": name, "folder": name, "output_dir": name} for name in "ab"]
ASKED = {"steps": STEPS, "manifest_dir": "/", "overrides": []}


def run_started() -> dict[str, Any]:
    return {"event": "run_started", "owner": OWNER, "argv": [], **ASKED}


def run_ended(state: str, reason: str | None = None) -> dict[str, Any]:
    return {"event": "run_ended", "state": state, "exit_code": 0, "reason": reason}


def began(step: str, attempt: int = 1) -> dict[str, Any]:
    return {"event": "step_started", "step": step, "attempt": attempt, "fingerprint": "f", "ingredients": {}}


def ended(step: str, state: str, reason: str | None = None, **more: Any) -> dict[str, Any]:
    return {"event": "step_ended", "step": step, "state": state, "exit_code": 0, "reason": reason, **more}


def submitted(job: str = "7") -> dict[str, Any]:
    return {"event": "submitted", "job": job, "rerun": [], **ASKED}


STOPPED = [began("a"), ended("a", "interrupted", "stopped on request"), run_ended("interrupted", "stopped")]
DONE = [began("a"), ended("a", "done"), began("b"), ended("b", "done"), run_ended("done")]
KILLED = [run_started(), began("a"), ended("a", "done"), began("b")]
BROKE = "rank 1 on host1 exited 1"
INVALIDATED = {"event": "steps_invalidated", "steps": ["b"], "reason": "to be run again"}
GONE = "its runner (process 5 on host host1) is gone since "
QUEUED = "queued as job 7 of Slurm"


@pytest.mark.parametrize(
    ("events", "alive", "state", "stages", "reason"),
    [
        pytest.param([], False, "pending", [], None, id="nothing has happened"),
        pytest.param([run_started()], True, "running", ["pending"] * 2, None, id="just started"),
        pytest.param([run_started()], False, "interrupted", ["pending"] * 2, GONE, id="killed at once"),
        pytest.param(KILLED, True, "running", ["done", "running"], None, id="in its second step"),
        pytest.param(KILLED, False, "interrupted", ["done", "interrupted"], GONE, id="killed in it"),
        pytest.param(KILLED[:3], True, "running", ["done", "pending"], None, id="between two steps"),
        pytest.param(KILLED[:3], False, "interrupted", ["done", "pending"], GONE, id="killed between two"),
        pytest.param([run_started(), *DONE], False, "done", ["done"] * 2, None, id="all done"),
        pytest.param(
            [run_started(), *DONE, run_started()],
            True,
            "running",
            ["done"] * 2,
            None,
            id="done, looked at again",
        ),
        pytest.param(
            [run_started(), *STOPPED],
            False,
            "interrupted",
            ["interrupted", "pending"],
            "stopped",
            id="stopped",
        ),
        pytest.param(
            [run_started(), *STOPPED, run_started(), began("a", 2)],
            True,
            "running",
            ["running", "pending"],
            None,
            id="stopped and resumed",
        ),
        pytest.param(
            [run_started(), *STOPPED, run_started(), began("a", 2)],
            False,
            "interrupted",
            ["interrupted", "pending"],
            GONE,
            id="stopped, resumed, killed",
        ),
        pytest.param(
            [*KILLED, run_started()],
            True,
            "running",
            ["done", "interrupted"],
            None,
            id="killed, and started again a moment ago",
        ),
        pytest.param(
            [*KILLED, run_started(), began("b", 2), ended("b", "done"), run_ended("done")],
            False,
            "done",
            ["done"] * 2,
            None,
            id="killed, then brought to its end",
        ),
        pytest.param(
            [*KILLED, ended("b", "failed", BROKE), run_ended("failed", f"b: {BROKE}")],
            False,
            "failed",
            ["done", "failed"],
            f"b: {BROKE}",
            id="failed",
        ),
        pytest.param(
            [*KILLED, ended("b", "failed", BROKE), began("b", 2)],
            True,
            "running",
            ["done", "running"],
            None,
            id="failed, in its next attempt",
        ),
        pytest.param(
            [*KILLED, ended("b", "failed", BROKE)],
            True,
            "running",
            ["done", "failed"],
            None,
            id="failed, waiting for its next attempt",
        ),
        pytest.param(
            [*KILLED, ended("b", "failed", BROKE)],
            False,
            "interrupted",
            ["done", "failed"],
            GONE,
            id="failed, killed while waiting",
        ),
        pytest.param(
            [*KILLED, ended("b", "failed", BROKE), run_ended("failed", BROKE), run_started(), began("b", 2)],
            True,
            "running",
            ["done", "running"],
            None,
            id="failed, mended and resumed",
        ),
        pytest.param(
            [run_started(), run_ended("failed", "no GPU")],
            False,
            "failed",
            ["pending"] * 2,
            "no GPU",
            id="could not start a step",
        ),
        pytest.param(
            [run_started(), *DONE, run_started(), INVALIDATED],
            True,
            "running",
            ["done", "stale"],
            None,
            id="to be run again",
        ),
        pytest.param(
            [run_started(), *DONE, run_started(), INVALIDATED],
            False,
            "interrupted",
            ["done", "stale"],
            GONE,
            id="to be run again, killed before that",
        ),
        pytest.param(
            [run_started(), *DONE, run_started(), INVALIDATED, began("b", 2)],
            True,
            "running",
            ["done", "running"],
            None,
            id="run again",
        ),
        pytest.param([submitted()], False, "pending", ["pending"] * 2, None, id="waits for Slurm"),
        pytest.param(
            [submitted(), *KILLED], True, "running", ["done", "running"], None, id="its job has begun"
        ),
        pytest.param(
            [submitted(), *KILLED],
            False,
            "interrupted",
            ["done", "interrupted"],
            GONE,
            id="its job was killed",
        ),
        pytest.param(
            [submitted(), run_started(), *STOPPED, {"event": "requeued", "job": "7", "reached": "a step5"}],
            False,
            "pending",
            ["interrupted", "pending"],
            "stopped",
            id="its job is queued again",
        ),
        pytest.param(
            [{"event": "of_tomorrow"}, run_started(), {"event": "heartbeat_lost", "rank": 3}, *DONE],
            False,
            "done",
            ["done"] * 2,
            None,
            id="with events of another version",
        ),
    ],
)
def test_every_history(
    events: Events, alive: bool, state: str, stages: list[str], reason: str | None
) -> None:
    events = [{"time": float(number), **event} for number, event in enumerate(events, start=1)]
    found = status(fold(events), run="small", alive=alive, files={}, story=tell(events))
    assert (found["state"], [stage["state"] for stage in found["stages"]]) == (state, stages)
    assert found["reason"] == reason or (reason is not None and str(found["reason"]).startswith(reason))
    if any(event["event"] in {"submitted", "requeued"} for event in events[-1:]):
        waiting = next(stage for stage in found["stages"] if stage["state"] != "done")
        assert str(waiting["reason"]).startswith(QUEUED)


def test_the_last_failure_is_told_by_its_file_or_else_by_the_journal() -> None:
    broke = {"kind": "crash", "rank": 1, "host": "host1", "exception": None}
    events = [*KILLED, ended("b", "failed", BROKE, failure=broke), began("b", 2)]
    events = [{"time": float(number), **event} for number, event in enumerate(events, start=1)]
    by_journal = status(fold(events), run="small", alive=True, files={}, story=tell(events))["stages"][1]
    expected = {
        "attempt": 1,
        "fault": "crash",
        "rank": 1,
        "host": "host1",
        "exception": None,
        "reason": BROKE,
    }
    assert by_journal["last_failure"] == expected
    files = {"b": StepFiles(failure={"kind": "exception", "rank": 3, "exception": "ValueError: no\nmore"})}
    by_file = status(fold(events), run="small", alive=True, files=files, story=tell(events))["stages"][1]
    assert by_file["last_failure"] == {
        "attempt": 1,
        "fault": "exception",
        "rank": 3,
        "host": None,
        "exception": "ValueError: no",
        "reason": BROKE,
    }


def test_a_runner_is_gone_since_its_newest_sign_of_life() -> None:
    events = [{"time": float(number), **event} for number, event in enumerate(KILLED, start=1)]
    files = {"b": StepFiles(beat={"time": 50.0}, metrics={"time": 40.0})}

    def since(lock_time: float | None) -> str:
        found = status(
            fold(events), run="small", alive=False, files=files, story=tell(events), lock_time=lock_time
        )
        assert found["stages"][1]["reason"] == found["reason"]
        return str(found["reason"]).removeprefix(GONE).partition(";")[0]

    assert since(None) == time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(50))
    assert since(90.0) == time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(90))
