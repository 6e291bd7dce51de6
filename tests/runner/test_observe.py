from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from runner.history import fold
from runner.journal import Journal, read
from runner.observe import is_owner_alive, is_running, observe, read_files
from runner.process import Identity, identify
from runner.rundir import RunDir, StepDir
from runner.status import StepFiles
from tests.runner.page.made import make_run


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "small")


def start(run: RunDir, owner: Identity) -> None:
    """Write down that a runner began, and a stage with it."""
    journal = Journal(run.events)
    steps = [{"name": "a", "kind": "train", "stage": "a", "folder": "a", "output_dir": "a"}]
    journal.append("run_started", owner=owner, steps=steps, manifest_dir="/", overrides=[], argv=[])
    journal.append("step_started", step="a", attempt=1, fingerprint="f", ingredients={}, argv=[])
    journal.close()


def test_a_run_is_running_as_long_as_its_runner_lives(run: RunDir) -> None:
    process = subprocess.Popen(["sleep", "100"])
    start(run, identify(process.pid))
    assert observe(run)["state"] == "running"
    process.kill()
    process.wait()
    assert (observe(run)["state"], is_running(run)) == ("interrupted", False)


def test_a_runner_on_another_host_is_judged_by_the_lock_it_renews(run: RunDir) -> None:
    start(run, {**identify(os.getpid()), "host": "elsewhere"})
    assert not is_running(run)
    run.lock.touch()
    assert is_running(run)
    os.utime(run.lock, (time.time() - 100, time.time() - 100))
    assert not is_owner_alive(run, fold(read(run.events)))


def test_files_that_are_missing_or_torn_tell_nothing(tmp_path: Path) -> None:
    home = StepDir(tmp_path)
    assert read_files(home) == StepFiles()
    home.progress.write_text('{"done": 1')
    home.result.write_text("[]")
    home.latest.write_text("\n")
    home.metrics.write_text('{"step": 1}\n{"step": 2}\nnot json\n{"step": 3')
    assert read_files(home) == StepFiles(metrics={"step": 2})


def test_only_the_end_of_a_long_file_is_read(tmp_path: Path) -> None:
    home = StepDir(tmp_path)
    home.metrics.write_text("".join(f'{{"step": {n}}}\n' for n in range(100_000)))
    assert read_files(home).metrics == {"step": 99_999}


def test_a_moved_or_copied_run_is_told_the_same_and_a_torn_journal_too(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    told = observe(run)
    assert told["stages"][3]["latest_checkpoint_time"] == pytest.approx(time.time(), abs=60)
    shutil.copytree(run.path, tmp_path / "copies" / "small")
    copy = RunDir(tmp_path / "copies" / "small")
    for file in (copy.events, copy.stage("first").progress, copy.stage("first").commit_record(300)):
        os.utime(file, (0, 0))  # a copy may be of any time
    untimed = [{**stage, "latest_checkpoint_time": None} for stage in told["stages"]]
    assert observe(copy)["stages"] == untimed
    with run.events.open("ab") as file:
        file.write(b'{"event": "step_ended", "st')
    run.path.rename(tmp_path / "moved")
    assert observe(RunDir(tmp_path / "moved")) == {**told, "run": "moved"}


def test_ranks_of_the_newest_attempt_show_that_they_live_and_what_they_are_at(run: RunDir) -> None:
    start(run, identify(os.getpid()))
    home = run.stage("a")
    for rank, at in ((0, 2e9), (1, 3e9)):
        home.logs(1).mkdir(parents=True, exist_ok=True)
        home.heartbeat(1, rank).write_text(
            json.dumps({"phase": "save", "step": 5, "count": 9, "time": at}).ljust(511)
        )
    home.heartbeat(1, 2).write_text('{"phase": "st')
    stage = observe(run)["stages"][0]
    assert (stage["phase"], stage["last_updated_time"]) == ("save", 3e9)


def test_the_last_fault_is_read_from_its_record(tmp_path: Path) -> None:
    assert observe(make_run(tmp_path))["stages"][5]["last_failure"] == {
        "attempt": 2,
        "fault": "out_of_gpu_memory",
        "rank": 3,
        "host": "host2",
        "exception": "OutOfMemoryError: CUDA out of memory",
        "reason": "rank 3 on host2 exited 1: CUDA out of memory",
    }
