from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runner.history import History, StepHistory
from runner.outcome import Outcome
from runner.report import duration, failure_text, progress_text, result_text, size, summary_text
from runner.rundir import RunDir

if TYPE_CHECKING:
    from runner.status import RunStatus, StageStatus

RUN = RunDir(Path("/runs/small"))


def stage(name: str, state: Any, **figures: Any) -> StageStatus:
    nothing = dict.fromkeys(["step", "total_steps", "loss", "tokens_per_second", "eta_seconds"])
    more = {"latest_checkpoint": None, "attempts": 0, "reason": None, "kind": "train"}
    return {"name": name, "state": state, **nothing, **more, **figures}  # type: ignore[typeddict-item]


STATUS: RunStatus = {
    "run": "small",
    "state": "failed",
    "schema_version": 1,
    "reason": None,
    "started_time": None,
    "last_updated_time": None,
    "stages": [
        stage("data", "done", kind="build_data", attempts=1, loss=None),
        stage(
            "stage1", "done", step=20, total_steps=20, loss=0.12345, attempts=1, latest_checkpoint="step20"
        ),
        stage("stage2", "failed", step=5, loss=2.0, attempts=3, reason="rank 1 on host1 exited 1"),
        stage("sft", "pending"),
    ],
}


def test_the_summary_tells_times_results_and_places() -> None:
    history = History(by_step={"stage1": StepHistory(seconds=125), "stage2": StepHistory(seconds=3)})
    notes = {"test": ["held-out loss 2.0"], "data": []}
    tables = {"eval": ["model  recall@10", "sft    0.1832"]}
    assert summary_text(STATUS, history, run=RUN, notes=notes, tables=tables) == "\n".join(
        [
            "",
            "step of the run  state    time   steps  loss",
            "data             done",
            "stage1           done     2m05s  20     0.1235",
            "stage2           failed   3.0s   5      2.0000",
            "sft              pending",
            "",
            "test: held-out loss 2.0",
            "",
            "  model of stage1: /runs/small/stage1/converted",
            "  logs: /runs/small/<stage>/stdout.log, stderr.log, logs/attempt-<n>/",
            "  curves: tensorboard --logdir /runs/small",
            "",
            "eval:",
            "  model  recall@10",
            "  sft    0.1832",
        ]
    )


@pytest.mark.parametrize(
    ("retry_in", "end"),
    [
        (
            None,
            [
                "  more: runner logs /runs/small --stage stage1 --rank 2",
                "  when it is mended: runner resume /runs/small",
            ],
        ),
        (5.0, ["  starting it again in 5.0s"]),
    ],
)
def test_a_failure_is_told_with_the_last_words_and_what_to_do(retry_in: float | None, end: list[str]) -> None:
    outcome = Outcome("failed", 1, "rank 2 on host1 exited 1", blamed_rank=2)
    text = failure_text(
        "stage1",
        outcome,
        attempt=2,
        retry_in=retry_in,
        log=Path("/log"),
        tail=["Boom", "bang"],
        run=RUN,
        stage="stage1",
    )
    head = ["stage1 failed (attempt 2): rank 2 on host1 exited 1", "    Boom", "    bang", "  log: /log"]
    assert text.splitlines() == [*head, *end]


def test_progress_is_one_line_of_what_is_known() -> None:
    figures = {
        "done": 120,
        "total": 400,
        "unit": "steps",
        "loss": 3.21,
        "tokens_per_second": 12345.6,
        "eta_seconds": 80,
    }
    assert (
        progress_text("stage1", figures) == "stage1: 120/400 steps, loss 3.2100, 12,346 tokens/s, 1m20s left"
    )
    assert (
        progress_text("data", {"done": 1, "total": 3, "unit": "files", "eta_seconds": None})
        == "data: 1/3 files"
    )


def test_a_result_is_told_in_a_few_words() -> None:
    assert (
        result_text({"step": 20, "total_steps": 20, "loss": 0.5, "reason": "data_end"})
        == "20 of 20 steps, loss 0.5000"
    )
    assert result_text({"rows": 5}) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0s"),
        (9.94, "9.9s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (3599, "59m59s"),
        (7200, "2h00m"),
        (300_000, "3d11h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (4e9, "4.0 GB"), (5e15, "5000.0 TB")],
)
def test_sizes(count: float, text: str) -> None:
    assert size(int(count)) == text
