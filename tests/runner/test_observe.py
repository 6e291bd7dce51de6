from __future__ import annotations

import os
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
