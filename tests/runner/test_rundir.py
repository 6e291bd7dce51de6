from __future__ import annotations

from pathlib import Path

import pytest

from onerec.errors import ConfigError
from runner.rundir import SAVE_LEFTOVERS, RunDir, StepDir, find_run


def make(path: Path) -> Path:
    path.mkdir(parents=True)
    RunDir(path).events.touch()
    return path


def test_a_run_is_found_by_path_by_name_and_as_the_newest(tmp_path: Path) -> None:
    path = make(tmp_path / "runs" / "small")
    (tmp_path / "runs" / "latest").symlink_to("small")
    runs = tmp_path / "runs"
    assert [find_run(run, runs=runs).path for run in (str(path), "small", None)] == [path] * 3
    assert find_run(None, runs=runs).name == "small"


def test_a_run_that_is_not_there_is_told_with_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no run at none or .*/none; name a run directory"):
        find_run("none", runs=tmp_path)


def test_checkpoints_are_the_complete_ones_in_numeric_order(tmp_path: Path) -> None:
    for name in ("step100", "step9", "step10", "step11.tmp-1", "stepping"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "COMMIT.json").touch()
    (tmp_path / "step200").mkdir()
    assert StepDir(tmp_path).checkpoints() == [9, 10, 100]


def test_what_is_no_complete_checkpoint_is_told_apart(tmp_path: Path) -> None:
    names = ("step9", "step10", "step11.tmp-1", "step12.quarantined-1", ".trash-step8", "stepping")
    for name in names:
        (tmp_path / name).mkdir()
    home = StepDir(tmp_path)
    home.commit_record(9).touch()
    assert home.unmarked_checkpoints() == [home.checkpoint(10)]
    assert home.quarantined_checkpoints() == [tmp_path / "step12.quarantined-1"]
    assert home.leftovers(SAVE_LEFTOVERS) == [tmp_path / ".trash-step8", tmp_path / "step11.tmp-1"]


def test_attempts_come_in_numeric_order(tmp_path: Path) -> None:
    home = StepDir(tmp_path)
    for number in (10, 9, 1):
        home.logs(number).mkdir(parents=True)
    home.logs(1).with_name("attempt-1.bak").mkdir()
    assert home.attempts() == [home.logs(1), home.logs(9), home.logs(10)]
    records = [home.logs(9) / f"rank-0000{rank}.pid.json" for rank in (0, 1)]
    for path in (*records, home.logs(9) / "rank-00000.json"):
        path.touch()
    assert home.process_records(9) == records


def test_stages_are_found_without_a_journal_but_not_those_set_aside(tmp_path: Path) -> None:
    for name in ("stage1", "stage1.replaced-1", "notes"):
        (tmp_path / name).mkdir()
        StepDir(tmp_path / name).config.touch()
    StepDir(tmp_path / "notes").config.unlink()
    assert RunDir(tmp_path).step_folders() == [StepDir(tmp_path / "stage1")]


def test_a_run_without_its_journal_is_found_by_its_manifest_where_that_is_enough(tmp_path: Path) -> None:
    path = make(tmp_path / "runs" / "small")
    RunDir(path).events.unlink()
    RunDir(path).manifest.touch()
    assert find_run("small", runs=tmp_path / "runs", may_lack_journal=True).path == path
    with pytest.raises(ConfigError, match="no run at"):
        find_run("small", runs=tmp_path / "runs")


def test_what_is_set_aside_gets_a_free_name(tmp_path: Path) -> None:
    home = StepDir(tmp_path / "stage1")
    assert home.replaced().name == "stage1.replaced-1"
    home.replaced().mkdir()
    assert home.replaced().name == "stage1.replaced-2"


def test_the_journal_s_places_are_those_inside_the_run(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert run.inside(str(run.dataset("mixed").path)) == "data/mixed"
    assert run.step("data/mixed") == run.dataset("mixed")
