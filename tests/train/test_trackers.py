"""Trackers get every row and the same run after a resume, and none of them can disturb training."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from onerec.errors import ConfigError
from onerec.train import trackers
from onerec.train.tracker_packages import flat, mlflow_key
from onerec.train.trackers import TrackedRun, TrackerThread, check_trackers, is_installed
from tests import tiny

FAKE = Path(__file__).with_name("fake_trackers")


class Recorder:
    """A tracker that notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []

    def start(self, run, *, config, resume_id):
        self.calls.append(("start", run, dict(config), resume_id))
        return resume_id or "new"

    def log(self, scalars, step):
        self.calls.append(("log", dict(scalars), step))

    def finish(self, state):
        self.calls.append(("finish", state))


def thread_of(tracker, folder, **limits):
    run = TrackedRun("demo/sft", {"seed": 1}, folder)
    return TrackerThread("wandb", lambda: tracker, run=run, **limits)


def test_rows_arrive_in_order_and_a_resumed_stage_goes_on_with_the_same_run(tmp_path):
    first, second = Recorder(), Recorder()
    for recorder, state, steps in ((first, "stopped", (5, 10)), (second, "done", (15,))):
        thread = thread_of(recorder, tmp_path)
        for step in steps:
            thread.tell({"loss": step / 5, "nothing": math.nan}, step)
        thread.close(state)
    assert first.calls == [
        ("start", "demo/sft", {"seed": 1}, None),
        ("log", {"loss": 1.0}, 5),
        ("log", {"loss": 2.0}, 10),
        ("finish", "stopped"),
    ]
    assert second.calls == [
        ("start", "demo/sft", {"seed": 1}, "new"),
        ("log", {"loss": 3.0}, 15),
        ("finish", "done"),
    ]
    assert json.loads((tmp_path / "wandb.json").read_text()) == {"id": "new"}


def wait_for_threads():
    """Until no tracker is at work."""
    for thread in threading.enumerate():
        if thread.name.startswith("tracker"):
            thread.join(20)


@pytest.mark.parametrize("method", ["start", "log", "finish"])
def test_a_tracker_that_fails_is_told_of_once_and_switched_off(tmp_path, capsys, method):
    class Failing(Recorder):
        pass

    def fail(*_, **__):
        raise KeyError("no\nserver")

    setattr(Failing, method, fail)
    thread = thread_of(Failing(), tmp_path)
    for step in range(20):
        thread.tell({"loss": 1.0}, step)
        time.sleep(0.001)
    thread.close("done")
    told = capsys.readouterr().err.splitlines()
    assert told == ["warning: wandb is switched off, training goes on: KeyError: 'no\\nserver'"]


def test_a_tracker_that_hangs_costs_no_row_more_than_a_moment(tmp_path, capsys):
    entered, release = threading.Event(), threading.Event()

    class Hanging(Recorder):
        def log(self, scalars, step):
            entered.set()
            release.wait(20)
            raise OSError("the server is gone")

    thread = thread_of(Hanging(), tmp_path, queue_rows=10, finish_seconds=0.2)
    thread.tell({"loss": 1.0}, 0)
    assert entered.wait(20)
    began = time.monotonic()
    for step in range(1, 100):
        thread.tell({"loss": 1.0}, step)
    thread.close("done")
    assert time.monotonic() - began < 1
    release.set()
    wait_for_threads()
    told = capsys.readouterr().err.splitlines()
    assert told == ["warning: wandb is switched off, training goes on: it hangs, 10 rows wait for it"]


def test_the_end_of_a_stage_waits_for_a_slow_tracker_only_so_long(tmp_path, capsys):
    release = threading.Event()

    class Slow(Recorder):
        def finish(self, state):
            release.wait(20)

    thread = thread_of(Slow(), tmp_path, finish_seconds=0.2)
    thread.tell({"loss": 1.0}, 1)
    began = time.monotonic()
    thread.close("done")
    assert 0.2 <= time.monotonic() - began < 1
    assert "it did not end within 0.2 s" in capsys.readouterr().err
    release.set()


def test_a_folder_that_wandb_left_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "surely_no_package").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not is_installed("surely_no_package")
    assert is_installed("json")


def test_what_is_not_installed_is_told_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(trackers, "is_installed", lambda name: name == "mlflow")
    check_trackers(["mlflow"])
    with pytest.raises(ConfigError) as raised:
        check_trackers(["wandb", "mlflow", "trackio"])
    assert str(raised.value) == (
        "training.trackers: wandb, trackio is not installed in this environment; "
        'pip install "onerec-runner[wandb,trackio]", or take it out of trackers'
    )


def test_settings_are_flat_and_names_of_sources_are_made_fit_for_mlflow():
    assert flat({"a": {"b": 1, "c": None}, "d": "x", "e": [1, 2]}) == {"a.b": "1", "d": "x", "e": "[1, 2]"}
    assert mlflow_key("data_source_loss/a:b (c)") == "data_source_loss/a_b _c_"


def run_with_fake(config, folder, *, expect=0, **env):
    """A stage trained beside a stand-in for wandb; what that was told."""
    told = folder / "told.jsonl"
    done = subprocess.run(
        tiny.command(config),
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={
            **tiny.environment(),
            "PYTHONPATH": os.pathsep.join([str(FAKE), os.environ.get("PYTHONPATH", "")]),
            "FAKE_TOLD": str(told),
            **env,
        },
    )
    assert done.returncode == expect, done.stderr
    return done, [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []


@pytest.fixture(scope="module")
def short(tiny_programme, tmp_path_factory):
    """Changes that make a stage of 6 steps, and its curve without any tracker."""
    changes = {"duration": {"max_steps": 6, "packs_per_step": 1}}
    config = tiny.train_config(tiny_programme, tmp_path_factory.mktemp("plain") / "run" / "stage", **changes)
    tiny.run(config)
    return changes, tiny.curve(config)


def test_training_tells_its_tracker_each_row_and_goes_on_in_the_same_run(short, tiny_programme, tmp_path):
    changes, curve = short
    config = tiny.train_config(
        tiny_programme, tmp_path / "run" / "stage", **changes, monitor={"trackers": ["wandb"]}
    )
    (tmp_path / "run").mkdir()
    Path(config["stop_file"]).touch()
    run_with_fake(config, tmp_path, expect=75, WANDB_API_KEY="planted-secret")
    Path(config["stop_file"]).unlink()
    _, told = run_with_fake(config, tmp_path, WANDB_API_KEY="planted-secret")
    assert tiny.curve(config) == curve
    starts = [call for call in told if call["call"] == "init"]
    assert [call["name"] for call in starts] == [f"run/{config['stage']}"] * 2
    assert starts[0]["id"] == starts[1]["id"]
    assert [call["exit_code"] for call in told if call["call"] == "finish"] == [0, 0]
    rows = tiny.metrics(config)
    logged = [call["row"] for call in told if call["call"] == "log" and "training/loss" in call["row"]]
    assert [(row["step"], row["training/loss"]) for row in logged] == [
        (row["step"], row["loss"]) for row in rows
    ]
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not [path for path in files if b"planted-secret" in path.read_bytes()]


@pytest.mark.parametrize("fault", ["raise", pytest.param("hang", marks=pytest.mark.slow)])
def test_training_is_the_same_whatever_its_tracker_does(short, tiny_programme, tmp_path, fault):
    changes, curve = short
    config = tiny.train_config(
        tiny_programme, tmp_path / "run" / "stage", **changes, monitor={"trackers": ["wandb"]}
    )
    done, _ = run_with_fake(config, tmp_path, FAKE_FAULT=fault)
    assert tiny.curve(config) == curve
    assert done.stderr.count("wandb is switched off, training goes on") == 1


def test_a_tracker_that_is_not_there_ends_the_stage_before_it_begins(tiny_programme, tmp_path):
    config = tiny.train_config(tiny_programme, tmp_path / "run" / "stage", monitor={"trackers": ["trackio"]})
    if is_installed("trackio"):
        pytest.skip("trackio is installed here")
    done = tiny.run(config, expect=2)
    assert 'pip install "onerec-runner[trackio]"' in done.stderr


REAL = os.environ.get("TRACKERS_PYTHON", sys.executable)
"""An interpreter that has wandb, mlflow and trackio; they need not be in the environment of the trainer."""


@pytest.mark.integration
@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_the_real_packages_take_rows_without_a_server_and_go_on_with_a_run(name, tmp_path):
    script = Path(__file__).with_name("drive_tracker.py")
    env = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "WANDB_MODE": "offline",
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "WANDB_API_KEY": "0123456789" * 4,
        "HOME": str(tmp_path),
    }
    probe = [REAL, "-c", f"import {name}"]
    if subprocess.run(probe, capture_output=True, cwd=tmp_path, check=False).returncode:
        pytest.skip(f"{name} is not installed in {REAL}; set TRACKERS_PYTHON")
    ids = []
    for state in ("stopped", "done"):
        done = subprocess.run(
            [REAL, str(script), name, str(tmp_path / "trackers"), state],
            check=False,
            capture_output=True,
            text=True,
            timeout=180,
            env=env,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert "switched off" not in done.stderr
        ids.append(json.loads((tmp_path / "trackers" / f"{name}.json").read_text())["id"])
    assert ids[0] == ids[1]
    files = [path for path in (tmp_path / "trackers").rglob("*") if path.is_file()]
    assert not [path for path in files if b"0123456789" * 4 in path.read_bytes()]
