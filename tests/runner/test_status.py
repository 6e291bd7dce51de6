from __future__ import annotations

from typing import Any

import pytest

from runner.history import History, StepHistory, Submission
from runner.status import StepFiles, status

OWNER = {"host": "host1", "boot_id": "b", "pid": 5, "start_ticks": 6}
LIVE = StepFiles(
    progress={"done": 7, "total": 20, "loss": 0.5, "tokens_per_second": 99.0, "eta_seconds": 3.0},
    metrics={"step": 5, "loss": 0.6, "tokens_per_second": 90.0},
    result={"step": 20, "total_steps": 20, "loss": 0.25},
    latest_checkpoint="step5",
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
    assert list(document) == ["run", "state", "stages"]
    return dict(document["stages"][0])


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
    assert found["reason"] == "its runner (process 5 on host host1) is gone; run it again to go on"


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
