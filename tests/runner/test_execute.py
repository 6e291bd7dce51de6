"""Whole runs, started as a person would start them, with a stand-in for the trainer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runner.journal import read
from runner.rundir import RunDir
from tests.doctor import assert_healthy
from tests.runner.programme import STEPS, runner, start_runner, states, wait_until, write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDir]:
    """The run of a test, which has to be sound when the test is over."""
    run = RunDir(tmp_path / "runs" / "small")
    yield run
    if run.path.exists():  # one test moves it
        assert_healthy(run.path)


def attempts(run: RunDir) -> dict[str, int]:
    """Attempts of each step by the journal."""
    started = [event["step"] for event in read(run.events) if event["event"] == "step_started"]
    return {step: started.count(step) for step in STEPS}


def waiting_pid(run: RunDir, stage: str) -> int:
    path = run.stage(stage).path / "waiting"
    wait_until(lambda: path.exists() and path.read_text() != "")
    return int(path.read_text())


def is_gone(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_programme_comes_to_its_end_and_the_second_run_does_nothing(tmp_path: Path, run: RunDir) -> None:
    manifest = write_manifest(tmp_path)
    first = runner(tmp_path, manifest)
    assert (first.returncode, first.stderr) == (0, "")
    assert states(tmp_path) == dict.fromkeys(STEPS, "done")
    assert "test: test_model was here" in first.stdout
    assert f"model of second: {run.stage('second').converted}" in first.stdout
    assert (tmp_path / "runs" / "latest").resolve() == run.path
    assert run.manifest.read_bytes() == manifest.read_bytes()

    again = runner(tmp_path, manifest)
    assert again.returncode == 0
    assert attempts(run) == dict.fromkeys(STEPS, 1)
    assert "first: done before (20 of 20 steps, loss 0.0500)" in again.stdout


def test_the_command_script_does_what_the_runner_did(tmp_path: Path, run: RunDir) -> None:
    runner(tmp_path, write_manifest(tmp_path))
    home = run.stage("first")
    home.result.unlink()
    subprocess.run([home.command], check=True, stdout=subprocess.DEVNULL)
    assert json.loads(home.result.read_text())["step"] == 20


def test_a_failed_rank_is_told_with_its_last_words_and_its_exit_code(tmp_path: Path, run: RunDir) -> None:
    ended = runner(tmp_path, write_manifest(tmp_path, {"first": {"code": 6}}))
    assert ended.returncode == 6
    log = run.stage("first").rank_log(1, 0, "stderr")
    assert f"first failed (attempt 1): rank 0 on {os.uname().nodename} exited 6" in ended.stdout
    assert f"    about to fail\n  log: {log}\n" in ended.stdout
    found = states(tmp_path)
    assert (found["prepare:mixed"], found["first"], found["second"]) == ("done", "failed", "pending")


def test_a_crash_in_training_is_tried_again_as_often_as_the_cluster_says(tmp_path: Path, run: RunDir) -> None:
    orders = {"first": {"signal": int(signal.SIGKILL), "attempts": [1]}}
    ended = runner(tmp_path, write_manifest(tmp_path, orders), "--set", "cluster.max_restarts=1")
    assert ended.returncode == 0
    assert "rank 0 on" in ended.stdout
    assert "was killed by SIGKILL" in ended.stdout
    assert attempts(run) == {**dict.fromkeys(STEPS, 1), "first": 2}


@pytest.mark.parametrize(("part", "step", "code"), [("first", "first", 6), ("init_model", "base", 1)])
def test_a_mistake_and_a_step_that_does_not_train_are_not_tried_again(
    tmp_path: Path, run: RunDir, part: str, step: str, code: int
) -> None:
    manifest = write_manifest(tmp_path, {part: {"code": code}})
    assert runner(tmp_path, manifest, "--set", "cluster.max_restarts=3").returncode == code
    assert attempts(run)[step] == 1


def test_exit_0_without_a_result_is_a_failure(tmp_path: Path, run: RunDir) -> None:
    ended = runner(tmp_path, write_manifest(tmp_path, {"first": {"no_result": True}}))
    assert ended.returncode == 1
    assert "it did not reach its end" in ended.stdout


def test_a_failed_run_goes_on_with_what_is_left(tmp_path: Path, run: RunDir) -> None:
    runner(tmp_path, write_manifest(tmp_path, {"second": {"code": 1, "attempts": [1]}}))
    assert_healthy(run.path)
    ended = runner(tmp_path, "resume")
    assert ended.returncode == 0
    assert "second: started, attempt 2 (attempt 1 failed; goes on from step 5)" in ended.stdout
    assert attempts(run) == {**dict.fromkeys(STEPS, 1), "second": 2}


def test_a_killed_runner_leaves_nothing_alive_and_is_never_shown_as_running(
    tmp_path: Path, run: RunDir
) -> None:
    manifest = write_manifest(tmp_path, {"first": {"wait": True, "attempts": [1]}})
    process = start_runner(tmp_path, manifest)
    pid = waiting_pid(run, "first")
    assert states(tmp_path)["first"] == "running"
    process.kill()
    process.communicate()
    wait_until(lambda: is_gone(pid), seconds=5)
    document = json.loads(runner(tmp_path, "status", "--json").stdout)
    first = next(stage for stage in document["stages"] if stage["name"] == "first")
    assert (document["state"], first["state"]) == ("interrupted", "interrupted")
    assert f"(process {process.pid} on host" in first["reason"]
    assert_healthy(run.path)

    assert runner(tmp_path, manifest).returncode == 0
    assert attempts(run) == {**dict.fromkeys(STEPS, 1), "first": 2}


def test_a_second_runner_is_refused_by_name(tmp_path: Path, run: RunDir) -> None:
    manifest = write_manifest(tmp_path, {"first": {"wait": True}})
    process = start_runner(tmp_path, manifest)
    waiting_pid(run, "first")
    second = runner(tmp_path, manifest)
    assert second.returncode == 5
    assert f"process {process.pid} on host {os.uname().nodename} since" in second.stderr
    assert runner(tmp_path, "stop").returncode == 0
    assert process.wait() == 75
    process.communicate()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR2, 75)]
)
def test_a_signal_stops_training_cleanly_and_the_run_goes_on_later(
    tmp_path: Path, run: RunDir, number: signal.Signals, code: int
) -> None:
    manifest = write_manifest(tmp_path, {"first": {"wait": True, "attempts": [1]}})
    process = start_runner(tmp_path, manifest)
    waiting_pid(run, "first")
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == code
    assert "first: interrupted, stopped on request" in output
    assert run.stage("first").latest.read_text() == "step7"
    assert_healthy(run.path)
    assert runner(tmp_path, manifest).returncode == 0
    assert states(tmp_path) == dict.fromkeys(STEPS, "done")


def test_a_step_that_does_not_train_is_ended_at_the_first_ctrl_c(tmp_path: Path, run: RunDir) -> None:
    manifest = write_manifest(tmp_path, {"init_model": {"wait": True, "attempts": [1]}})
    process = start_runner(tmp_path, manifest)
    pid = waiting_pid(run, "base")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert is_gone(pid)
    assert states(tmp_path)["base"] == "interrupted"
    assert_healthy(run.path)
    assert runner(tmp_path, manifest).returncode == 0


def test_a_trainer_that_does_not_listen_is_ended_by_the_second_and_killed_by_the_third_ctrl_c(
    tmp_path: Path, run: RunDir
) -> None:
    process = start_runner(tmp_path, write_manifest(tmp_path, {"first": {"wait": True}}))
    pid = waiting_pid(run, "first")
    os.kill(pid, signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    wait_until(run.stop_file.exists)
    process.send_signal(signal.SIGINT)
    wait_until(lambda: has_pending(pid, signal.SIGTERM))
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert is_gone(pid)


def has_pending(pid: int, number: signal.Signals) -> bool:
    """Whether a stopped process has a signal waiting for it."""
    text = Path(f"/proc/{pid}/status").read_text()
    pending = next(line.split()[1] for line in text.splitlines() if line.startswith("ShdPnd"))
    return bool(int(pending, 16) >> (number - 1) & 1)


def test_changed_settings_of_finished_work_are_refused_key_by_key(tmp_path: Path, run: RunDir) -> None:
    manifest = write_manifest(tmp_path)
    runner(tmp_path, manifest)
    before = read(run.events)
    changed = runner(tmp_path, manifest, "--set", "stages.second.learning_rate=5e-4")
    assert changed.returncode == 4
    assert (
        "    optim.learning_rate: 0.001 -> 0.0005\n  made from that: second:convert, test\n" in changed.stderr
    )
    assert "--rerun second" in changed.stderr
    assert read(run.events) == before


def test_keys_that_cannot_change_numbers_may_change(tmp_path: Path, run: RunDir) -> None:
    manifest = write_manifest(tmp_path)
    runner(tmp_path, manifest)
    changes = [
        "stages.second.logging_per_step=1",
        "datasets.mixed.num_workers=0",
        "stages.first.keep_checkpoints=9",
        "cluster.max_restarts=5",
    ]
    ended = runner(tmp_path, manifest, *(part for change in changes for part in ("--set", change)))
    assert ended.returncode == 0
    assert attempts(run) == dict.fromkeys(STEPS, 1)


def test_rerun_runs_a_stage_and_all_after_it_and_keeps_what_was_there(tmp_path: Path, run: RunDir) -> None:
    manifest = write_manifest(tmp_path)
    runner(tmp_path, manifest)
    ended = runner(tmp_path, manifest, "--set", "stages.second.learning_rate=5e-4", "--rerun", "second")
    assert ended.returncode == 0
    again = {"second", "second:convert", "test"}
    assert attempts(run) == {step: 2 if step in again else 1 for step in STEPS}
    assert (run.path / "second.replaced-1" / "latest").read_text() == "step20"
    assert (run.path / "test.replaced-1").is_dir()
    assert not (run.path / "first.replaced-1").exists()


def test_rerun_of_a_stage_named_data_leaves_the_prepared_datasets_beside_it(
    tmp_path: Path, run: RunDir
) -> None:
    manifest = write_manifest(tmp_path)
    manifest.write_text(
        manifest.read_text().replace('"made"', '"data"').replace("stages.made", "stages.data")
    )
    runner(tmp_path, manifest)
    kept = run.path / "data" / "mixed" / "kept"
    kept.touch()
    run.path.joinpath("data/rows/old").touch()
    assert runner(tmp_path, manifest, "--rerun", "data").returncode == 0
    assert (run.path / "data" / "rows.replaced-1" / "old").exists()
    assert not (run.path / "data" / "rows" / "old").exists()
    assert not (run.path / "data.replaced-1").exists()
    assert kept.exists() or (run.path / "data" / "mixed.replaced-1" / "kept").exists()


def test_a_deleted_output_is_made_again(tmp_path: Path, run: RunDir) -> None:
    manifest = write_manifest(tmp_path)
    runner(tmp_path, manifest)
    run.stage("expand").model.rmdir()
    ended = runner(tmp_path, manifest)
    assert f"expand: started, attempt 2 ({run.stage('expand').model} is gone)" in ended.stdout
    assert attempts(run) == {**dict.fromkeys(STEPS, 1), "expand": 2}


def test_an_output_that_was_cut_is_made_again(tmp_path: Path, run: RunDir) -> None:
    manifest = write_manifest(tmp_path)
    runner(tmp_path, manifest)
    assert runner(tmp_path, "plan", manifest, "--check").returncode == 0
    weights = run.stage("expand").model / "weights"
    weights.write_text("these were not here")
    plan = runner(tmp_path, "plan", manifest, "--check")
    told = "model changed: 0 files of 0 bytes when it was made, now 1 file of 19 bytes"
    assert (plan.returncode, told in plan.stdout) == (1, True)
    assert runner(tmp_path, manifest).returncode == 0
    assert attempts(run) == {**dict.fromkeys(STEPS, 1), "expand": 2}


def test_a_changed_manifest_is_kept_beside_the_one_before(tmp_path: Path, run: RunDir) -> None:
    manifest = write_manifest(tmp_path)
    runner(tmp_path, manifest)
    before = manifest.read_bytes()
    manifest.write_bytes(before + b"# a remark\n")
    assert runner(tmp_path, manifest).returncode == 0
    assert (run.path / "manifest.1.toml").read_bytes() == before
    assert run.manifest.read_bytes() == manifest.read_bytes()


def test_a_run_that_was_moved_goes_on(tmp_path: Path, run: RunDir) -> None:
    runner(tmp_path, write_manifest(tmp_path, {"second": {"code": 1, "attempts": [1]}}))
    moved = tmp_path / "elsewhere"
    run.path.rename(moved)
    ended = runner(tmp_path, "resume", moved)
    assert ended.returncode == 0
    assert_healthy(moved)
    assert attempts(RunDir(moved)) == {**dict.fromkeys(STEPS, 1), "second": 2}
