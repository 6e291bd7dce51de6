"""Faults of checkpoints, of `latest`, and of what a stage that is done has to leave."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from onerec.checkpoint.commit import quarantine
from runner.journal import Journal, read
from tests.runner.doctor.planting import change, findings, told

if TYPE_CHECKING:
    from runner.rundir import RunDir

NEWEST = "stage2/step13"


def test_a_flipped_bit_is_found_by_its_digest(finished: RunDir) -> None:
    (shard,) = finished.stage("stage2").checkpoint(13).glob("*/model/*.distcp")
    text = bytearray(shard.read_bytes())
    text[len(text) // 2] ^= 1
    shard.write_bytes(text)
    assert findings(finished) == [("error", NEWEST)]
    assert "global_step13/model/__0_0.distcp differs from its digest" in told(finished, NEWEST)
    assert "make it again: runner MANIFEST --rerun stage2" in told(finished, NEWEST)
    assert findings(finished, fast=True) == []


@pytest.mark.parametrize("fast", [True, False])
def test_a_file_that_is_short_or_missing_is_found(finished: RunDir, fast: bool) -> None:
    (shard,) = finished.stage("stage2").checkpoint(13).glob("*/model/*.distcp")
    shard.write_bytes(shard.read_bytes()[:-1])
    assert findings(finished, fast=fast) == [("error", NEWEST)]
    shard.unlink()
    assert findings(finished, fast=fast) == [("error", NEWEST)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"sha256": {}}',
        '{"sha256": {"x": 5}}',
        '{"sha256": {"../../../lock": "0"}}',
        '{"step": 12, "sha256": {"x": "%s"}}' % ("0" * 64),
        '{"sha256": {"x": "%s"}, "bytes": {"y": 1}}' % ("0" * 64),
        "[" * 100_000,
    ],
)
def test_a_commit_record_that_is_none_is_an_error(finished: RunDir, text: str) -> None:
    finished.stage("stage2").commit_record(13).write_text(text)
    assert findings(finished) == [("error", NEWEST)]


def test_an_older_version_s_record_without_sizes_is_sound(finished: RunDir) -> None:
    for key in ("bytes", "step"):
        change(finished.stage("stage2").commit_record(13), lambda record, key=key: record.pop(key))
    assert findings(finished, fast=True) == findings(finished) == []


def test_the_remedy_for_damage_depends_on_what_is_left(stopped: RunDir) -> None:
    home = stopped.stage("stage2")
    shutil.copytree(home.checkpoint(1), home.checkpoint(3))
    home.latest.write_text("step3\n")
    assert f"step1 taken, by: runner resume {stopped.path}" in told(stopped, "stage2/step3")
    shutil.rmtree(home.checkpoint(3))
    home.latest.write_text("step1\n")
    next(home.checkpoint(1).glob("*/model/*.distcp")).unlink()
    assert "start the stage afresh: runner MANIFEST --rerun stage2" in told(stopped, "stage2/step1")


def test_a_damaged_one_that_nobody_needs_is_set_aside_by_hand(finished: RunDir) -> None:
    next(finished.stage("stage2").checkpoint(2).glob("*/model/*.distcp")).unlink()
    place = finished.path / "stage2/step2"
    assert f"set it aside: mv {place} {place}.quarantined-1" in told(finished, "stage2/step2")


def test_one_without_its_mark_is_a_warning(finished: RunDir) -> None:
    finished.stage("stage2").commit_record(2).unlink()
    assert findings(finished) == [("warning", "stage2/step2")]
    assert f"remove it: rm -r {finished.path}/stage2/step2" in told(finished, "stage2/step2")


def test_a_quarantined_one_is_a_warning_until_it_is_the_last(stopped: RunDir) -> None:
    home = stopped.stage("stage1")
    quarantine(home.checkpoint(2))
    assert findings(stopped) == [("warning", "stage1/step2.quarantined-1")]
    assert f"rm -r {home.path}/step2.quarantined-1" in told(stopped, "stage1/step2.quarantined-1")
    quarantine(stopped.stage("stage2").checkpoint(1))
    assert ("error", "stage2") in findings(stopped)
    assert "--rerun stage2" in told(stopped, "stage2")


def test_latest_names_the_newest_one(stopped: RunDir) -> None:
    done = stopped.stage("stage1").latest
    done.write_text("step2\n")
    assert findings(stopped) == [("error", "stage1/latest")]
    assert f"echo step4 > {done}" in told(stopped, "stage1/latest")
    done.write_bytes(b"\xff")
    assert findings(stopped) == [("error", "stage1/latest")]
    done.write_text("step4\n")
    # a crash between the save and the writing of `latest`, in a stage that goes on
    stopped.stage("stage2").latest.unlink()
    assert findings(stopped) == [("warning", "stage2/latest")]


def test_a_done_step_has_its_result_of_its_newest_attempt(finished: RunDir) -> None:
    change(finished.stage("stage2").result, lambda result: result.update(attempt=1))
    assert findings(finished) == [("error", "stage2/result.json")]
    finished.stage("stage2").result.write_text("{")
    assert findings(finished) == [("error", "stage2/result.json")]


@pytest.mark.parametrize("place", ["expand/model", "data/mixed/summary.json", "stage2/latest"])
def test_a_done_step_has_its_outputs(finished: RunDir, place: str) -> None:
    path = finished.path / place
    path.rename(path.with_name("gone"))
    assert ("error", place) in findings(finished)


def test_a_done_stage_has_its_final_checkpoint(finished: RunDir) -> None:
    home = finished.stage("stage2")
    shutil.rmtree(home.checkpoint(13))
    home.latest.write_text("step12\n")
    assert ("error", "stage2") in findings(finished)
    assert "ended at step 13, and there is no complete checkpoint of that step" in told(finished, "stage2")


def test_a_done_stage_has_its_converted_folder_made_from_its_final_checkpoint(finished: RunDir) -> None:
    link = finished.stage("stage2").converted
    link.unlink()
    assert findings(finished) == [("error", "stage2/converted")]
    link.symlink_to("step12/global_step12/converted")
    assert findings(finished) == [("error", "stage2/converted")]
    finished.stage("stage2").converted_checkpoint(12).mkdir()
    assert findings(finished) == [("error", "stage2/converted")]
    assert "it leads to stage2/step12/global_step12/converted" in told(finished, "stage2/converted")


def test_a_stage_that_exports_its_best_checkpoint_has_it_made_from_that(finished: RunDir) -> None:
    stage, records = finished.stage("stage2"), finished.conversion("stage2")
    config = json.loads(records.config.read_text())
    records.config.write_text(json.dumps({**config, "best": True}))
    stage.best.write_text(json.dumps({"step": 12}))
    assert findings(finished) == [("error", "stage2/converted")]
    assert "the stage's model is stage2/step12/global_step12/converted" in told(finished, "stage2/converted")
    stage.converted_checkpoint(12).mkdir()
    stage.converted.unlink()
    stage.converted.symlink_to("step12/global_step12/converted")
    assert findings(finished) == []


def test_a_stage_that_is_to_be_run_again_is_not_looked_at(finished: RunDir) -> None:
    start = next(event for event in read(finished.events) if event["event"] == "run_started")
    journal = Journal(finished.events)
    fields = {key: start[key] for key in ("owner", "steps", "manifest_dir", "overrides")}
    journal.append("run_started", **fields)
    journal.append("steps_invalidated", steps=["stage2", "stage2:convert", "test"], reason="again")
    journal.append("run_ended", state="interrupted", exit_code=75, reason=None)
    journal.close()
    finished.stage("stage2").commit_record(13).unlink()
    finished.stage("stage2").result.unlink()
    assert findings(finished) == []
