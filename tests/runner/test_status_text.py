from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from runner.curves import PLAIN_BLOCKS
from runner.history import History
from runner.status import status
from runner.status_text import age_text, columns, status_text, wrapped

if TYPE_CHECKING:
    from runner.status import RunStatus, StageStatus

NOW = 1_000_000.0


def stage(name: str, state: Any, **figures: Any) -> StageStatus:
    step = {"name": name, "kind": "train", "stage": name, "folder": name, "output_dir": name}
    empty = status(History(steps=(step,)), run="r", alive=False, files={})["stages"][0]  # type: ignore[arg-type]
    return {**empty, "state": state, **figures}  # type: ignore[typeddict-item]


def run(state: Any, *stages: StageStatus, **more: Any) -> RunStatus:
    empty = status(History(), run="small", alive=False, files={})
    return {**empty, "state": state, "stages": list(stages), **more}  # type: ignore[typeddict-item]


FAILURE = {
    "attempt": 1,
    "fault": "out_of_gpu_memory",
    "rank": 3,
    "host": "host2",
    "exception": "OutOfMemoryError: CUDA out of memory",
    "reason": "rank 3 on host2 exited 1",
}
RUNNING = stage(
    "stage2",
    "running",
    step=268,
    total_steps=656,
    progress_percentage=40.9,
    loss=1.91,
    loss_curve=[8.0, 4.0, 2.0, 1.91],
    validation_loss=2.5,
    tokens_per_second=16213.4,
    mfu=0.431,
    data_wait_share=0.005,
    eta_seconds=125.0,
    latest_checkpoint="step200",
    latest_checkpoint_time=NOW - 65,
    last_updated_time=NOW - 2,
    attempts=2,
    phase="save",
    last_failure=FAILURE,
)
DONE = stage("stage1", "done", step=20, total_steps=20, progress_percentage=100.0, loss=0.12345, attempts=1)


def test_a_run_at_work_is_one_screen() -> None:
    shown = status_text(
        run("running", DONE, RUNNING, stage("sft", "pending"), last_updated_time=NOW - 2), now=NOW
    )
    assert shown == "\n".join(
        [
            "run small: running" + " " * 36 + "last sign of life 2.0s ago",
            "",
            "step of the run  state    step     done  loss    course  tokens/s  left   tries",
            "stage1           done     20/20          0.1235",
            "stage2           running  268/656  41 %  1.9100  █▃▁▁    16,213    2m05s  2",
            "sft              pending",
            "",
            "stage2: running (save), 268 of 656 done (41 %), 2m05s left, attempt 2",
            "  loss         1.9100  █▃▁▁  validation 2.5000",
            "  speed        16,213 tokens/s, MFU 43.1%, 0.5% of the time waiting for data",
            "  checkpoint   step200, 1m05s ago",
            "  last sign    2.0s ago",
            "  last fault   attempt 1: out_of_gpu_memory, rank 3 on host2: OutOfMemoryError:",
            "               CUDA out of memory",
        ]
    )


def test_what_is_not_well_tells_why() -> None:
    why = "rank 1 on host1 exited 1"
    failed = stage("stage2", "failed", step=5, loss=2.0, attempts=3, reason=why)
    shown = status_text(run("failed", DONE, failed, reason=f"stage2: {why}"), now=NOW)
    assert shown == "\n".join(
        [
            "run small: failed",
            "",
            "step of the run  state   step   loss    tries",
            "stage1           done    20/20  0.1235",
            "stage2           failed  5/?    2.0000  3",
            "",
            "stage2: failed; rank 1 on host1 exited 1",
        ]
    )
    shown = status_text(run("interrupted", DONE, reason="its runner is gone"), now=NOW)
    assert shown.splitlines()[1] == "its runner is gone"


def test_what_is_to_be_done_again_is_one_paragraph() -> None:
    stale = [stage(name, "stale", reason="to be run again", attempts=1) for name in ("a", "b")]
    shown = status_text(run("running", *stale), now=NOW)
    assert shown.split("\n\n")[2:] == ["stale, to be run again: a, b"]


@pytest.mark.parametrize("blocks", ["▁▂▃▄▅▆▇█", PLAIN_BLOCKS])
def test_no_line_is_wider_than_80_columns_and_control_characters_are_shown_not_obeyed(blocks: str) -> None:
    huge = {
        "step": 123_456_789,
        "total_steps": 987_654_321,
        "loss": 12345.678,
        "tokens_per_second": 123_456_789.0,
        "eta_seconds": 8_640_000.0,
        "running_seconds": 8_640_000.0,
        "attempts": 120,
        "loss_curve": [float(number) for number in range(24)],
        "reason": "rank 7 said: \x1b[31m" + "文字" * 50 + " and /a/path/" + "x" * 200,
        "last_failure": {**FAILURE, "exception": "错误：" * 60},
        "latest_checkpoint": "step123456789",
        "latest_checkpoint_time": NOW,
    }
    stages = [stage("阶段" * 20 + str(number), "running", **huge) for number in range(3)]
    shown = status_text(run("running", *stages, run="r" * 100, last_updated_time=NOW), now=NOW, blocks=blocks)
    assert max(map(columns, shown.splitlines())) <= 80
    assert "\x1b" not in shown


def test_colours_change_nothing_but_colours() -> None:
    of_every_state = [
        stage(state, state, attempts=2, reason="failed, it is")
        for state in ("pending", "running", "done", "failed", "interrupted", "stale")
    ]
    document = run("failed", *of_every_state, last_updated_time=NOW)
    plain, styled = status_text(document, now=NOW), status_text(document, now=NOW, has_styles=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", styled) == plain
    assert "\x1b[31;1mfailed\x1b[0m" in styled
    assert "\x1b" not in plain


@pytest.mark.parametrize(
    ("at", "told"),
    [
        (None, "at an unknown time"),
        (NOW - 0.4, "just now"),
        (NOW + 1.5, "just now"),
        (NOW - 90, "1m30s ago"),
        (NOW + 3600, "1h00m in the future (clocks differ)"),
    ],
)
def test_no_age_is_negative(at: float | None, told: str) -> None:
    assert age_text(at, now=NOW) == told


def test_text_is_wrapped_at_words_and_long_words_are_broken() -> None:
    assert wrapped("one two three", width=8, indent="  ") == ["one two", "  three"]
    assert wrapped("abcdefghij k", width=4, indent=" ") == ["abcd", " efg", " hij", " k"]
    assert wrapped("", width=4, indent=" ") == []


def test_a_run_without_steps_says_so() -> None:
    assert status_text(run("pending"), now=NOW) == "run small: pending\n\nno step has been planned yet"


def test_what_an_evaluation_found_is_told_in_a_line() -> None:
    told = "sft Recall@10 0.1832, NDCG@10 0.1012; best baseline sasrec 0.1791, 0.1093"
    text = status_text(run("done", DONE, stage("eval", "done", kind="evaluate", headline=told)), now=NOW)
    assert " ".join(text.split("\n\n")[-1].split()) == f"eval: {told}"
    live = status_text(run("running", stage("sft", "running", hit_rate=0.125, loss=1.0)), now=NOW)
    assert "  hit rate     0.1250" in live.splitlines()
