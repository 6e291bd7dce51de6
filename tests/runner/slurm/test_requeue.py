"""Which stopped jobs are queued again."""

from __future__ import annotations

import pytest

from runner.slurm.requeue import Verdict, reached_by, verdict
from runner.status import RunStatus, StageStatus

HERE = "3 steps done, sft at step50"
GOES_ON = Verdict(True, f"job 12 is queued again, and goes on from {HERE}", 75)


@pytest.mark.parametrize(
    ("asked_by", "state", "before", "wanted"),
    [
        ("signal", "RUNNING", [], GOES_ON),
        ("signal", "RUNNING", [HERE], GOES_ON),
        ("signal", "RUNNING", [HERE, HERE, "3 steps done, sft at step25"], GOES_ON),
        (
            "signal",
            "RUNNING",
            ["2 steps done, sft at its start", HERE, HERE],
            Verdict(
                False,
                f"3 jobs in a row ended at the same point ({HERE}): job 12 is not queued again; "
                "raise cluster.slurm.time, or save more often",
                7,
            ),
        ),
        (
            "runner stop",
            "RUNNING",
            [],
            Verdict(False, "stopped by runner stop: job 12 is not queued again", 75),
        ),
        (
            "signal",
            "COMPLETING",
            [],
            Verdict(False, "job 12 is COMPLETING: it is not queued again, unless by Slurm itself", 75),
        ),
        (
            "signal",
            "PENDING",
            [],
            Verdict(False, "job 12 is PENDING: it is not queued again, unless by Slurm itself", 75),
        ),
        (
            "signal",
            None,
            [],
            Verdict(False, "job 12 is over: it is not queued again, unless by Slurm itself", 75),
        ),
    ],
    ids=[
        *("time limit", "some progress", "progress in between", "no progress", "a person", "cancelled"),
        *("queued by Slurm itself", "gone"),
    ],
)
def test_a_job_comes_back_only_if_slurm_stopped_it_and_it_brings_the_run_forward(
    asked_by: str, state: str | None, before: list[str], wanted: Verdict
) -> None:
    events: list[dict[str, object]] = [
        {"event": "requeued", "job": "12", "reached": point} for point in before
    ]
    assert verdict("12", asked_by=asked_by, state=state, reached=HERE, events=events) == wanted


def stage(name: str, state: str, checkpoint: str | None = None) -> StageStatus:
    figures = dict.fromkeys(("step", "total_steps", "loss", "tokens_per_second", "eta_seconds", "reason"))
    return {
        "name": name,
        "kind": "train",
        "state": state,
        "attempts": 1,
        "latest_checkpoint": checkpoint,
        **figures,
    }  # type: ignore[typeddict-item,return-value]


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        (
            [stage("a", "done"), stage("b", "interrupted", "step4"), stage("c", "pending")],
            "1 step done, b at step4",
        ),
        ([stage("a", "interrupted")], "0 steps done, a at its start"),
        ([stage("a", "done")], "1 step done"),
    ],
)
def test_how_far_a_run_has_come(stages: list[StageStatus], words: str) -> None:
    status: RunStatus = {"run": "tiny", "state": "interrupted", "stages": stages}
    assert reached_by(status) == words
