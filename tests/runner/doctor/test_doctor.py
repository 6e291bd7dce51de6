"""The verb as a person calls it: on sound runs, during runs, after kills; it changes nothing and is fast."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.doctor import examine
from runner.rundir import RunDir
from tests.doctor import assert_healthy
from tests.runner.doctor.conftest import Real
from tests.runner.doctor.planting import findings
from tests.runner.programme import environment, runner, start_runner, wait_until, write_manifest

CHECKS = [
    "journal",
    "checkpoints",
    "results",
    "consumption",
    "metrics",
    "leftovers",
    "processes",
    "lock",
    "disk",
]


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Kind, size and times of everything in a folder."""
    status = {str(path): path.lstat() for path in [folder, *folder.rglob("*")]}
    return {name: (one.st_mode, one.st_size, one.st_mtime_ns) for name, one in status.items()}


def test_a_run_is_healthy_at_every_moment_while_it_goes_on(real: Real) -> None:
    assert len(real.meanwhile) > 20
    found = {finding for one in real.meanwhile for finding in one.findings}
    assert {one.place for one in found} <= {"control/stop.json"}  # between the stop and the next start


def test_a_stopped_run_and_a_finished_one_are_healthy_wherever_they_are_moved(
    stopped: RunDir, real: Real
) -> None:
    assert_healthy(stopped.path, without_warnings=True)
    assert_healthy(real.finished, without_warnings=True)
    assert findings(stopped, least="info") == [("info", "control/stop.json")]


def test_the_json_has_the_fixed_form(finished: RunDir) -> None:
    done = runner(finished.path.parent.parent, "doctor", finished.path, "--json")
    document = json.loads(done.stdout)
    details = {check["name"]: check["detail"] for check in document["checks"]}
    assert (done.returncode, done.stderr) == (0, "")
    assert document == {
        "run": "tiny",
        "healthy": True,
        "schema_version": 1,
        "checks": [{"name": name, "ok": True, "detail": details[name]} for name in CHECKS],
        "findings": [],
    }
    assert details["consumption"] == "33 packs accounted for"
    assert details["checkpoints"].startswith("10 complete checkpoints of 2 stages, ")


def test_an_error_is_told_with_its_remedy_and_exit_code_1(finished: RunDir) -> None:
    finished.stage("stage1").result.unlink()
    done = runner(finished.path.parent.parent, "doctor", finished.path)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("run tiny: 1 error, 0 warnings\n")
    assert "\nresults      ERROR  7 steps done\n" in done.stdout
    assert (
        "error: stage1/result.json: stage1 is done, and its result is not there\n"
        f"    it is made again by: runner resume {finished.path}\n" in done.stdout
    )


def test_it_changes_nothing(stopped: RunDir) -> None:
    (stopped.stage("stage2").path / "step9.tmp-1").mkdir()
    before = snapshot(stopped.path)
    examine(stopped)
    runner(stopped.path.parent.parent, "doctor", stopped.path)
    assert snapshot(stopped.path) == before


def test_it_answers_fast_and_without_torch(finished: RunDir) -> None:
    """Seconds of the best of five, for the machine may be busy."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        assert runner(finished.path.parent.parent, "doctor", finished.path, "--fast").returncode == 0
        times.append(time.perf_counter() - began)
    assert min(times) < 0.5
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "runner", "doctor", str(finished.path)],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert "torch" not in loaded
    assert "pydantic" not in loaded


def test_a_run_that_is_not_there_is_told_and_one_without_a_journal_is_examined(
    tmp_path: Path, finished: RunDir
) -> None:
    assert runner(tmp_path, "doctor", "nowhere").returncode == 2
    finished.events.unlink()
    assert findings(finished) == [("error", "events.jsonl")]
    done = runner(tmp_path, "doctor", "tiny")
    assert done.returncode == 1
    assert "error: events.jsonl: it is gone or empty, and steps have run here\n    restore " in done.stdout
    assert "10 complete checkpoints of 2 stages" in done.stdout


def test_what_was_set_aside_is_none_of_the_run(finished: RunDir) -> None:
    home = finished.stage("stage1")
    shutil.copytree(home.path, home.replaced(), symlinks=True)
    shutil.rmtree(finished.path / "stage1.replaced-1" / "step4")
    shutil.copytree(finished.path, finished.path.with_name("tiny.replaced-1"), symlinks=True)
    assert findings(finished) == []
    finished.events.unlink()
    assert findings(finished) == [("error", "events.jsonl")]


def test_a_killed_runner_leaves_what_goes_by_itself(tmp_path: Path) -> None:
    """As it is between the kill and the next start: nothing is broken, and the doctor says what will go."""
    run = RunDir(tmp_path / "runs" / "small")
    process = start_runner(tmp_path, write_manifest(tmp_path, {"first": {"wait": True, "attempts": [1]}}))
    wait_until((run.stage("first").path / "waiting").exists)
    (run.stage("first").path / "step9.tmp-1").mkdir()
    assert findings(run, least="info") == []
    process.kill()
    process.communicate()
    wait_until(lambda: is_over(run), seconds=5)
    assert findings(run, least="info") == [("info", "first/step9.tmp-1"), ("info", "lock")]


def is_over(run: RunDir) -> bool:
    return examine(run).healthy


def test_a_read_only_mount_is_examined(stopped: RunDir, tmp_path: Path) -> None:
    place = str(stopped.path)
    mount = f"mount --bind {place} {place} && mount -o remount,bind,ro {place}"
    in_namespace = ["unshare", "-rm", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*in_namespace, mount], check=False).returncode:
        pytest.skip("needs the right to mount")
    done = subprocess.run(
        [*in_namespace, f"{mount} && {sys.executable} -m runner doctor {place}"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "error: .: the disk is mounted read-only, and the run has not come to its end" in done.stdout


def test_what_comes_from_files_cannot_command_a_terminal(finished: RunDir) -> None:
    finished.stage("stage1").latest.write_text("\x1b[2J")
    done = runner(finished.path.parent.parent, "doctor", finished.path)
    assert "\x1b" not in done.stdout
    assert "\\x1b[2J" in done.stdout


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_a_finding(finished: RunDir) -> None:
    home = finished.stage("stage1").checkpoint(4)
    home.chmod(0)
    try:
        assert ("error", "stage1/step4") in findings(finished)
    finally:
        home.chmod(0o755)


def test_a_process_that_is_stopped_with_its_run_is_no_finding(tmp_path: Path) -> None:
    """A trainer that hangs is the runner's business as long as the runner lives."""
    run = RunDir(tmp_path / "runs" / "small")
    process = start_runner(tmp_path, write_manifest(tmp_path, {"first": {"wait": True}}))
    waiting = run.stage("first").path / "waiting"
    wait_until(lambda: waiting.exists() and waiting.read_text() != "")
    os.kill(int(waiting.read_text()), signal.SIGSTOP)
    assert findings(run, least="info") == []
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    process.communicate(timeout=30)
    assert_healthy(run.path)
