"""Faults in what a stage read, planted in the records of a real stage that was stopped once and went on."""

from __future__ import annotations

import dataclasses
import json
import typing
from typing import TYPE_CHECKING, Any

import pytest

from onerec.checkpoint import state
from onerec.checkpoint.stretch import Stretch
from runner.doctor import examine
from runner.rundir import RunDir
from tests.doctor import assert_healthy
from tests.runner.doctor.planting import change, change_state, findings, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.runner.doctor.conftest import Real

NEWEST = "stage2/step13/global_step13/trainer.json"


def stretch(number: int, **values: object) -> Callable[[Any], None]:
    """An edit of one stretch of a trainer.json."""
    return lambda document: document["stretches"][number].update(values)


def test_a_stretch_is_what_the_trainer_writes() -> None:
    ours, theirs = (
        {field.name: hints[field.name] for field in dataclasses.fields(kind)}
        for kind, hints in ((kind, typing.get_type_hints(kind)) for kind in (Stretch, state.Stretch))
    )
    assert ours == theirs


def test_the_real_stage_has_two_stretches_that_read_everything(real: Real) -> None:
    path = RunDir(real.finished).stage("stage2").trainer_state(13)
    stretches = json.loads(path.read_text())["stretches"]
    assert [(one["attempt"], one["first_pack"], one["end_pack"]) for one in stretches] == [
        ("1", 0, 2),
        ("2", 2, 25),
    ]
    assert_healthy(real.finished, without_warnings=True)


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (stretch(1, first_pack=4), "2 packs from pack 2 on were never read, between attempt 1"),
        (stretch(1, first_pack=1), "1 pack from pack 1 on were read twice, between attempt 1"),
        (stretch(1, first_step=2), "attempt 2 (steps 3 to 13) goes on after step 2, attempt 1"),
        (stretch(1, end_pack=24), "its stretches end before pack 24, and its position is before pack 25"),
        (stretch(1, last_step=12), "its stretches end at step 12, and its step is 13"),
        (stretch(0, end_pack=1), "attempt 1 (steps 1 to 1) read 1 pack in 1 step of 2"),
        (stretch(1, last_step=1), "attempt 2 (steps 2 to 1) has no step"),
        (stretch(1, attempt="9"), "attempt 9 took steps, and the journal tells of 2 attempts"),
        (stretch(1, end_pack="all"), "its step, position, counts or stretches cannot be understood"),
        (lambda told: told.update(stretches=[]), "its stretches end at step 0, and its step is 13"),
        (lambda told: told["stretches"].pop(0), "its stretches begin after step 1, at pack 2"),
        (lambda told: told.update(step=12), "it is the state of step 12"),
        (lambda told: told.update(packs_per_step=3), "it has 3 packs a step, data.json has 2"),
        (lambda told: told["data"].update(epoch=1), "its position, pack 25 of epoch 1, is behind the end"),
        (lambda told: told["data"].pop("next_pack"), "its step, position, counts or stretches cannot be"),
        (lambda told: told.update(counts=None), "its step, position, counts or stretches cannot be"),
    ],
)
def test_stretches_that_contradict_themselves_are_an_error(
    finished: RunDir, edit: Callable[[Any], Any], text: str
) -> None:
    place = change_state(finished, "stage2", 13, edit)
    assert (place, {level for level, _ in findings(finished)}) == (NEWEST, {"error"})
    assert ("error", NEWEST) in findings(finished)
    assert text in texts(finished)


def texts(run: RunDir) -> str:
    return "\n".join(one.text for one in examine(run).findings)


def test_a_checkpoint_that_does_not_come_from_the_one_before_is_an_error(finished: RunDir) -> None:
    """It is sound in itself: as if the second attempt had begun anew beside the first one's checkpoints."""
    for step in (2, 4, 6, 8, 10, 12, 13):
        change_state(finished, "stage2", step, _as_one_stretch)
    assert findings(finished) == [("error", "stage2/step2/global_step2/trainer.json")]
    assert "it does not go on from the checkpoint of step 1;" in told(
        finished, "stage2/step2/global_step2/trainer.json"
    )


def _as_one_stretch(document: Any) -> None:
    first, last = document["stretches"]
    document["stretches"] = [{**last, "first_step": 0, "first_pack": first["first_pack"]}]


def test_a_stage_that_ended_with_its_data_has_read_all_of_it(finished: RunDir) -> None:
    """As after a change of the data behind the run's back: each checkpoint is sound in itself."""
    record = finished.stage("stage2").data_record
    change(record, lambda data: data.update(packs_per_epoch=[26], total_packs=26))
    assert findings(finished) == [("error", NEWEST), ("error", "stage2/step13")]
    assert "it ended at the end of the data after 25 of 26 packs" in texts(finished)


def test_samples_that_were_lost_within_packs_are_found_by_their_number(finished: RunDir) -> None:
    place = change_state(finished, "stage2", 13, lambda told: told["counts"].update(history=[1600, 39]))
    assert place == NEWEST
    assert findings(finished) == [("error", "stage2/step13")]
    assert (
        "of source 'history' 39 samples with 1,600 tokens were read, 40 samples with 1,618 tokens were "
        "planned" in told(finished, "stage2/step13")
    )


def test_a_stage_that_ended_by_max_steps_need_not_have_read_everything(finished: RunDir) -> None:
    assert json.loads(finished.stage("stage1").result.read_text())["reason"] == "max_steps"
    assert findings(finished) == []


@pytest.mark.parametrize("text", [None, "", "{}", '{"packs_per_epoch": [25, -1], "packs_per_step": 2}'])
def test_a_data_record_that_is_none_is_an_error(finished: RunDir, text: str | None) -> None:
    record = finished.stage("stage2").data_record
    record.unlink() if text is None else record.write_text(text)
    assert findings(finished) == [("error", "stage2/data.json")]


def test_checkpoints_of_an_earlier_version_told_no_stretches(finished: RunDir) -> None:
    """The first attempt was of that version; the second one's stretch begins after its steps."""
    change_state(finished, "stage2", 1, lambda told: told.update(format=1, stretches=[]))
    for step in (2, 4, 6, 8, 10, 12, 13):
        change_state(finished, "stage2", step, lambda told: told["stretches"].pop(0))
    assert findings(finished) == []
    infos = findings(finished, least="info")
    assert len(infos) == 8
    assert ("info", "stage2/step1/global_step1/trainer.json") in infos


def test_a_checkpoint_of_a_later_version_is_told(finished: RunDir) -> None:
    change_state(finished, "stage2", 13, lambda told: told.update(format=3))
    assert findings(finished, least="info") == [("info", NEWEST)]


def test_a_stage_that_goes_on_from_another_run_has_attempts_of_that_one(finished: RunDir) -> None:
    for step in (1, 2, 4, 6, 8, 10, 12, 13):
        change_state(finished, "stage2", step, stretch(0, attempt="7"))
    assert ("error", NEWEST) in findings(finished)
    config = finished.stage("stage2").config
    change(config, lambda told: told["checkpoint"].update(resume_from="/elsewhere"))
    assert findings(finished) == []


@pytest.mark.parametrize("name", ["metrics.jsonl", "validation.jsonl"])
def test_rows_of_steps_come_once_and_in_order(finished: RunDir, name: str) -> None:
    path = finished.stage("stage2").path / name
    lines = finished.stage("stage2").metrics.read_bytes().splitlines(keepends=True)
    for damaged, text in {
        b"".join([*lines[:5], lines[4], *lines[5:]]): "step 5 is told again or out of order",
        b"".join([*lines[:5], lines[6], lines[5]]): "step 6 is told again or out of order",
        b"".join([*lines, b'{"step": 14}\n']): "it tells of step 14, and the stage ended at step 13",
        b"".join([*lines[:5], b"\0\0\n", *lines[5:]]): "1 line without a row that has a step, first b",
        b"".join([*lines[:5], b"[5]\n", b"{}\n"]): "2 lines without a row that has a step, first b'[5]",
    }.items():
        path.write_bytes(damaged)
        assert findings(finished) == [("error", f"stage2/{name}")]
        assert text in texts(finished)


def test_rows_past_the_checkpoint_and_a_torn_one_go_when_the_stage_goes_on(stopped: RunDir) -> None:
    with stopped.stage("stage2").metrics.open("a") as file:
        file.write('{"step": 2}\n{"step": 3')
    assert findings(stopped) == []
    assert ("info", "stage2/metrics.jsonl") in findings(stopped, least="info")


def test_only_the_end_of_a_long_file_is_read_when_it_should_be_fast(finished: RunDir) -> None:
    path = finished.stage("stage2").metrics
    row = '{"step": 1, "filler": "%s"}\n' % ("x" * 1000)
    path.write_text(row * 2 + "".join(row.replace("1,", f"{step},") for step in range(2, 13)))
    assert findings(finished) == [("error", "stage2/metrics.jsonl")]
    big = [row.replace("1,", f"{step},", 1).replace("x" * 1000, "x" * 200_000) for step in range(2, 14)]
    path.write_text(row * 2 + "".join(big))
    assert findings(finished) == [("error", "stage2/metrics.jsonl")]
    assert findings(finished, fast=True) == []
