from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from runner.console import BarListener, PlainListener
from runner.history import History, StepHistory
from runner.outcome import Outcome
from runner.rundir import RunDir, StepDir
from runner.steps import Step
from tests.runner.sample import small_plan

FIGURES = {"done": 5, "total": 20, "unit": "steps", "loss": 0.5, "eta_seconds": 3.0}


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return small_plan(tmp_path, run=RunDir(tmp_path)).step("first")


def play(listener: PlainListener, step: Step) -> None:
    """A step that is tried twice."""
    log = StepDir(Path(step.folder)).rank_log(1, 3, "stderr")
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"line {n}\n" for n in range(50)) + "\x1b[2Jbroke\n")
    listener.started(step, attempt=1, reason="not yet run")
    listener.progressed(step, FIGURES)
    listener.failed(step, Outcome("failed", 1, "rank 3 broke", blamed_rank=3), attempt=1, retry_in=5)
    listener.started(step, attempt=2, reason="attempt 1 failed")
    listener.ended(step, Outcome("done", 0, result={"step": 20, "total_steps": 20, "loss": 0.5}), seconds=2)
    listener.skipped(step, History(by_step={"first": StepHistory(result={"loss": 0.5})}))


def expected(step: Step) -> list[str]:
    log = StepDir(Path(step.folder)).rank_log(1, 3, "stderr")
    return [
        "first: started",
        "first failed (attempt 1): rank 3 broke",
        *(f"    line {n}" for n in range(39, 50)),
        "    \\x1b[2Jbroke",
        f"  log: {log}",
        "  starting it again in 5.0s",
        "first: started, attempt 2 (attempt 1 failed)",
        "first: done after 2.0s (20 of 20 steps, loss 0.5000)",
        "first: done before (loss 0.5000)",
    ]


def test_plain_lines_tell_starts_ends_and_failures(step: Step, tmp_path: Path) -> None:
    told: list[str] = []
    play(PlainListener(RunDir(tmp_path), told.append), step)
    assert "\n".join(told).splitlines() == expected(step)


def test_a_terminal_gets_the_same_lines_around_a_bar(step: Step, tmp_path: Path) -> None:
    stream = io.StringIO()
    listener = BarListener(RunDir(tmp_path), Console(file=stream, width=400, force_terminal=False))
    play(listener, step)
    listener.close()
    assert [line for line in stream.getvalue().splitlines() if line.strip()] == expected(step)


def test_a_bar_moves_with_the_progress(step: Step, tmp_path: Path) -> None:
    stream = io.StringIO()
    listener = BarListener(
        RunDir(tmp_path), Console(file=stream, width=120, force_terminal=True, color_system=None)
    )
    listener.started(step, attempt=1, reason="")
    listener.progressed(step, FIGURES)
    listener.close()
    assert "5/20 loss 0.5000 3.0s left" in stream.getvalue()


def test_progress_is_told_at_most_every_ten_seconds(
    step: Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    now = [0.0]
    monkeypatch.setattr("runner.console.time.monotonic", lambda: now[0])
    listener = PlainListener(RunDir(tmp_path), told.append)
    listener.started(step, attempt=1, reason="")
    for second in range(31):
        now[0] = float(second)
        listener.progressed(step, {**FIGURES, "done": second})
    assert told[1:] == [f"first: {done}/20 steps, loss 0.5000, 3.0s left" for done in (10, 20, 30)]
