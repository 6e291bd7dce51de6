from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from onerec.errors import ConfigError
from runner.decide import Facts, decide, drift_message, invalidated
from runner.history import History, StepHistory
from tests.runner.programme import STEPS
from tests.runner.sample import small_plan

if TYPE_CHECKING:
    from runner.steps import Plan

DONE = Facts(result=True)


def done(plan: Plan, **changes: StepHistory) -> History:
    """A history in which every step is done, but for the changes."""
    by_step = {
        step.name: StepHistory(
            state="done", attempts=1, fingerprint=step.fingerprint, ingredients=step.ingredients
        )
        for step in plan.steps
    }
    return History(by_step={**by_step, **changes})


def stood(plan: Plan, name: str, state: str, *, attempts: int = 1) -> StepHistory:
    """One step's history with the plan's own fingerprint."""
    step = plan.step(name)
    return StepHistory(
        state=state,  # type: ignore[arg-type]
        attempts=attempts,
        fingerprint=step.fingerprint,
        ingredients=step.ingredients,
    )


def actions(plan: Plan, history: History, facts: dict[str, Facts] | None = None) -> dict[str, str]:
    """What is to be done, for every step that is not skipped."""
    all_facts = {**dict.fromkeys(STEPS, DONE), **(facts or {})}
    found = decide(plan, history, all_facts)
    return {item.step.name: f"{item.action}: {item.reason}" for item in found if item.action != "skip"}


def test_a_new_run_starts_everything_and_a_finished_one_nothing(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    assert actions(plan, History()) == dict.fromkeys(STEPS, "start: not yet run")
    assert actions(plan, done(plan)) == {}


@pytest.mark.parametrize(
    ("state", "facts", "told"),
    [
        ("failed", Facts(), "start: attempt 2 failed"),
        ("interrupted", Facts(), "start: attempt 2 was interrupted"),
        ("running", Facts(), "start: attempt 2 was interrupted"),
        ("failed", Facts(checkpoints=(5, 10)), "continue: attempt 2 failed; goes on from step 10"),
        ("done", Facts(result=False), "start: its result.json is gone"),
        ("done", Facts(result=True, missing=("/x",)), "start: /x is gone"),
    ],
)
def test_what_did_not_end_well_or_lost_something_is_done_again(
    tmp_path: Path, state: str, facts: Facts, told: str
) -> None:
    plan = small_plan(tmp_path)
    history = done(plan, first=stood(plan, "first", state, attempts=2))
    assert actions(plan, history, {"first": facts}) == {"first": told}


def test_finished_work_of_other_settings_is_a_drift_of_it_and_all_after(tmp_path: Path) -> None:
    before, after = small_plan(tmp_path), small_plan(tmp_path, "stages.second.learning_rate=5e-4")
    found = decide(after, done(before), dict.fromkeys(STEPS, DONE))
    assert [item.step.name for item in found if item.action == "drift"] == [
        "second",
        "second:convert",
        "test",
    ]
    message = drift_message(found, run="runs/small")
    assert message == (
        "runs/small was made with other settings than the manifest has now; nothing was started\n"
        "  second:\n"
        "    optim.learning_rate: 0.001 -> 0.0005\n"
        "  made from that: second:convert, test\n"
        "ways out: --rerun second (runs it and all that follows again; what is there now is kept aside),\n"
        "or give the manifest another name, or put the old values back"
    )
    assert drift_message(decide(before, done(before), dict.fromkeys(STEPS, DONE)), run="") is None


def test_changed_files_outside_are_told_as_the_step_s_own_difference(tmp_path: Path) -> None:
    text = "stages.base.tokenizer_dir=/tokenizer"
    before = small_plan(tmp_path, text, identities={"/tokenizer": "old"})
    after = small_plan(tmp_path, text, identities={"/tokenizer": "new"})
    message = drift_message(decide(after, done(before), dict.fromkeys(STEPS, DONE)), run="r")
    assert message is not None
    assert "  base:\n    reads.1.model.tokenizer_dir: old -> new\n  made from that: expand," in message


def test_work_without_a_checkpoint_is_no_drift_but_started_afresh(tmp_path: Path) -> None:
    before, after = small_plan(tmp_path), small_plan(tmp_path, "stages.second.learning_rate=5e-4")
    kept = {name: stood(before, name, "done") for name in STEPS[:6]}
    history = History(by_step={**kept, "second": stood(before, "second", "failed")})
    facts = {**dict.fromkeys(STEPS[:6], DONE), "second": Facts()}
    assert [item.action for item in decide(after, history, facts)] == ["skip"] * 6 + ["start"] * 3
    facts["second"] = Facts(checkpoints=(5,))
    assert [item.action for item in decide(after, history, facts)][6] == "drift"


def test_rerun_starts_a_stage_and_all_after_it_afresh(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    found = decide(plan, done(plan), dict.fromkeys(STEPS, DONE), rerun=["second"])
    again = [item.step.name for item in found if item.set_aside]
    assert again == ["second", "second:convert", "test"]
    assert invalidated(found, done(plan)) == again


def test_rerun_of_a_stage_takes_its_drifted_dataset_along(tmp_path: Path) -> None:
    before, after = small_plan(tmp_path), small_plan(tmp_path, "datasets.mixed.add_think_pattern=true")
    found = decide(after, done(before), dict.fromkeys(STEPS, DONE), rerun=["first"])
    assert [item.step.name for item in found if item.set_aside] == STEPS[3:]
    found = decide(before, done(before), dict.fromkeys(STEPS, DONE), rerun=["first"])
    assert [item.step.name for item in found if item.set_aside] == STEPS[4:]


def test_what_was_made_stale_earlier_is_still_to_be_run(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    history = done(plan, test=StepHistory(state="stale", attempts=1, reason="to be run again"))
    assert actions(plan, history) == {"test": "start: to be run again"}
    assert invalidated(decide(plan, history, dict.fromkeys(STEPS, DONE)), history) == []


def test_rerun_of_nothing_that_is_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no step 'third'"):
        decide(small_plan(tmp_path), History(), {}, rerun=["third"])
