"""A command is told how a run ended; whatever it does, the run is as it was, and waits only so long."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runner.manifest import load
from runner.manifest.tables import Notify
from runner.notify import LOG_BYTES, notify, payload, state_of
from runner.preflight.beside import check_beside
from runner.rundir import RunDir
from tests.runner.programme import runner, start_runner, wait_until, write_manifest

if TYPE_CHECKING:
    from runner.status import RunStatus

KEEP = """\
#!/usr/bin/env python3
import json, pathlib, sys
told = json.load(sys.stdin)
pathlib.Path(__file__).with_name("told.json").write_text(json.dumps([sys.argv[1:], told]))
print("told", told["state"])
"""


def write_hook(folder: Path, text: str) -> None:
    path = folder / "hook"
    path.write_text(text.replace("/usr/bin/env python3", sys.executable))
    path.chmod(0o755)


def notified_manifest(folder: Path, orders: dict[str, object] | None = None, more: str = "") -> Path:
    """The small programme, which tells ./hook of its end."""
    path = write_manifest(folder, orders)
    table = f'[notify]\ncommand = ["./hook", "an arg; $(echo no shell)"]\n{more}\n[training]'
    path.write_text(path.read_text().replace("[training]", table))
    return path


def told_in(folder: Path) -> tuple[list[str], dict[str, Any]]:
    arguments, told = json.loads((folder / "told.json").read_text())
    return arguments, told


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the programme came to its end and told its hook."""
    folder = tmp_path_factory.mktemp("notified")
    write_hook(folder, KEEP)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    ended = runner(elsewhere, notified_manifest(folder))
    assert (ended.returncode, "notify" in ended.stderr) == (0, False), ended.stderr
    return folder


def test_the_end_of_a_run_is_told_to_a_command_beside_the_manifest(finished: Path) -> None:
    run = RunDir(finished / "elsewhere" / "runs" / "small")
    arguments, told = told_in(finished)
    assert arguments == ["an arg; $(echo no shell)"]
    assert abs(told.pop("time") - time.time()) < 600
    assert told.pop("host") == os.uname().nodename
    assert told == {
        "schema_version": 1,
        "run": "small",
        "state": "done",
        "stage": "second",
        "reason": None,
        "exit_code": 0,
        "run_dir": str(run.path),
        "figures": {
            "step": 20,
            "total_steps": 20,
            "loss": 0.05,
            "tokens_per_second": 10.0,
            "latest_checkpoint": "step20",
            "attempts": 1,
        },
    }
    lines = run.notify_log.read_text().splitlines()
    assert lines[0].endswith(f" done (0): {json.dumps([str(finished / 'hook'), 'an arg; $(echo no shell)'])}")
    assert lines[1] == "told done"
    assert lines[2].startswith("ended well (")


def test_a_failure_is_told_with_its_stage_and_reason(tmp_path: Path) -> None:
    write_hook(tmp_path, KEEP)
    ended = runner(tmp_path, notified_manifest(tmp_path, {"first": {"code": 6}}))
    told = told_in(tmp_path)[1]
    assert (ended.returncode, told["state"], told["stage"]) == (6, "failed", "first")
    assert told["exit_code"] == 6
    assert "exit" in told["reason"]


def test_a_stop_is_told_as_a_stop(tmp_path: Path) -> None:
    write_hook(tmp_path, KEEP)
    process = start_runner(tmp_path, notified_manifest(tmp_path, {"first": {"wait": True}}))
    run = RunDir(tmp_path / "runs" / "small")
    wait_until((run.stage("first").path / "waiting").exists)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    told = told_in(tmp_path)[1]
    assert (process.returncode, told["state"], told["stage"], told["exit_code"]) == (
        75,
        "stopped",
        "first",
        75,
    )


def test_an_end_that_was_not_asked_for_is_not_told(tmp_path: Path) -> None:
    write_hook(tmp_path, KEEP)
    assert runner(tmp_path, notified_manifest(tmp_path, more='on = ["failed"]')).returncode == 0
    assert not (tmp_path / "told.json").exists()


@pytest.mark.parametrize(
    ("code", "state"), [(0, "done"), (75, "stopped"), (130, "stopped"), (1, "failed"), (7, "failed")]
)
def test_how_a_run_ended_follows_from_its_exit_code(code: int, state: str) -> None:
    assert state_of(code) == state


def told_of(
    finished: Path, command: tuple[str, ...], *, seconds: float = 20.0
) -> tuple[str | None, str, float]:
    """What is complained about, what the log got, and how long it took."""
    run = RunDir(finished / "elsewhere" / "runs" / "small")
    run.notify_log.unlink(missing_ok=True)
    began = time.monotonic()
    complaint = notify(run, Notify(command=command, timeout_seconds=seconds), code=0)
    return complaint, run.notify_log.read_text(errors="replace"), time.monotonic() - began


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (("sh", "-c", "exit 3"), "ended with 3"),
        (("/nowhere/hook",), "cannot be started: it is not there, or not executable"),
        (("sh", "-c", "kill -9 $$"), "ended with -9"),
        (("true",), None),
    ],
)
def test_what_went_wrong_with_the_command_is_told_once(
    finished: Path, command: tuple[str, ...], complaint: str | None
) -> None:
    told, log, _ = told_of(finished, command)
    assert (complaint or "ended well") in log
    assert told is None if complaint is None else told is not None and f"{command[0]} {complaint};" in told


def test_a_command_that_hangs_is_ended_with_all_that_it_started(finished: Path, tmp_path: Path) -> None:
    script = f"sleep 1000 & echo $! > {tmp_path}/child; cat > /dev/null; wait"
    complaint, _, seconds = told_of(finished, ("sh", "-c", script), seconds=1.0)
    assert complaint is not None
    assert "took too long and was ended" in complaint
    assert 1.0 <= seconds < 3.0
    child = (tmp_path / "child").read_text().strip()
    wait_until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text())


def test_a_child_that_keeps_the_output_open_delays_nothing(finished: Path) -> None:
    complaint, log, seconds = told_of(finished, ("sh", "-c", "sleep 1000 & echo hello"))
    assert (complaint, "hello" in log) == (None, True)
    assert seconds < 5.0


def test_a_command_that_writes_without_end_fills_no_disk(finished: Path) -> None:
    complaint, log, seconds = told_of(finished, ("sh", "-c", "cat > /dev/null; exec yes"), seconds=1.0)
    assert complaint is not None
    assert LOG_BYTES < len(log) < LOG_BYTES + 1000
    assert seconds < 3.0


def test_a_command_that_reads_nothing_or_closes_its_output_is_no_fault(finished: Path) -> None:
    assert told_of(finished, ("sh", "-c", "exec <&- >&- 2>&-; sleep 0.3"))[0] is None


def test_a_command_ends_with_its_runner(tmp_path: Path) -> None:
    write_hook(
        tmp_path,
        f"#!/bin/sh\necho $$ > {tmp_path}/pid.tmp; mv {tmp_path}/pid.tmp {tmp_path}/pid; exec sleep 1000\n",
    )
    process = start_runner(tmp_path, notified_manifest(tmp_path))
    wait_until((tmp_path / "pid").exists, seconds=60)
    process.kill()
    process.communicate()
    pid = (tmp_path / "pid").read_text().strip()
    wait_until(lambda: subprocess.run(["kill", "-0", pid], capture_output=True, check=False).returncode != 0)


def test_a_disk_that_takes_no_log_and_a_journal_that_is_damaged_are_told_too(tmp_path: Path) -> None:
    write_hook(tmp_path, KEEP)
    run = RunDir(tmp_path / "small")
    run.path.mkdir()
    run.events.write_text("no event\n")
    run.notify_log.symlink_to("/dev/full")
    settings = Notify(command=(str(tmp_path / "hook"),))
    assert notify(run, settings, code=9, reason="no space left") is None
    told = told_in(tmp_path)[1]
    assert (told["state"], told["stage"], told["reason"]) == ("failed", None, "no space left")
    run.notify_log.unlink()
    run.notify_log.mkdir()
    assert notify(run, settings, code=0) is None
    assert told_in(tmp_path)[1]["state"] == "done"


def test_a_reason_is_cut() -> None:
    status: RunStatus = {  # type: ignore[typeddict-item]
        "run": "small",
        "state": "failed",
        "stages": [],
        "reason": "x" * 10**6,
    }
    told = payload(status, run_dir="/runs/small", code=1, reason=None, now=0.0)
    assert (told["stage"], told["reason"]) == (None, "x" * 4000)


def test_what_is_beside_a_run_is_looked_for_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.preflight.beside.is_installed", lambda name: name != "mlflow")
    manifest = notified_manifest(tmp_path)
    asked = ('training.trackers=["wandb", "mlflow"]',)
    missing = [str(finding) for finding in check_beside(load(manifest, asked).manifest)]
    assert missing == [
        "error: stages.second.trackers: the Python package mlflow is not installed; "
        'pip install "onerec-runner[mlflow]", or take it out of trackers',
        f"warning: notify.command: {tmp_path}/hook is not there; "
        "correct the path; it is relative to the manifest's folder",
    ]
    (tmp_path / "hook").touch()
    (found,) = check_beside(load(manifest).manifest)
    assert (found.message, found.remedy) == (
        f"{tmp_path}/hook is not executable",
        f"chmod +x {tmp_path}/hook",
    )
    (tmp_path / "hook").chmod(0o755)
    assert not list(check_beside(load(manifest).manifest))
    (found,) = check_beside(load(manifest, ('notify.command=["surely-not-there"]',)).manifest)
    assert found.message == "surely-not-there is not on the PATH"
