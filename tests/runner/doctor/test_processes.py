"""Processes that outlive their runner, and a lock that one of them keeps: real processes, found and told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from runner.doctor import examine
from runner.doctor.diagnosis import Standing
from runner.doctor.lock import LockFacts, check_lock
from runner.history import History
from runner.process import identify, start_ticks
from tests.runner.doctor.planting import dead, findings, told
from tests.runner.programme import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.rundir import RunDir

RECORD = "stage2/logs/attempt-1/rank-00000.pid.json"


@contextmanager
def sleeping(**env: str) -> Iterator[int]:
    """A real process with these variables in its environment."""
    process = subprocess.Popen(["sleep", "100"], env={"PATH": os.environ["PATH"], **env})
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is planted here does not end by itself."""
    monkeypatch.setattr("runner.doctor.processes.DYING_SECONDS", 0.1)


def test_a_process_of_a_runner_that_is_gone_is_found_by_its_environment(finished: RunDir) -> None:
    run, runner = str(finished.path), str(dead()["pid"])
    with sleeping(RUNNER_RUN=run, RUNNER_PID=runner, RUNNER_ATTEMPT="3") as pid:
        assert findings(finished) == [("error", ".")]
        assert told(finished, ".") == (
            f"process {pid} (sleep 100 of attempt 3) works on the run, and the runner that started it is "
            f"gone; kill -KILL {pid}"
        )
        os.system(told(finished, ".").rpartition("; ")[2])
        wait_until(lambda: start_ticks(pid) is None)
        assert findings(finished) == []


def test_a_process_that_knows_no_runner_belongs_to_one_that_lives_or_is_left_behind(
    finished: RunDir,
) -> None:
    with sleeping(RUNNER_RUN=str(finished.path)):
        assert findings(finished) == [("error", ".")]


def test_a_process_below_a_living_runner_or_of_another_run_is_none(finished: RunDir) -> None:
    ours, other = {"RUNNER_PID": str(os.getpid())}, str(finished.path.with_name("other"))
    with sleeping(RUNNER_RUN=str(finished.path), **ours), sleeping(RUNNER_RUN=other, RUNNER_PID="1"):
        assert findings(finished) == []


def test_a_recorded_process_that_still_lives_is_found_and_never_a_later_one_of_its_number(
    finished: RunDir,
) -> None:
    path = finished.path / RECORD
    with sleeping() as pid:
        alive = identify(pid)
        path.write_text(json.dumps({"rank": 0, "shim": dead(), "trainer": alive}))
        assert findings(finished) == [("error", RECORD)]
        assert told(finished, RECORD) == (
            f"process {pid} (the trainer of a rank) works on the run, and the runner that started it is "
            f"gone; the next start ends it, or by hand: kill -KILL {pid}"
        )
        later = {**alive, "start_ticks": alive["start_ticks"] - 1}
        path.write_text(json.dumps({"rank": 0, "shim": later, "trainer": {**alive, "boot_id": "before"}}))
        assert findings(finished) == []


def test_what_dies_a_moment_later_is_no_finding(finished: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.doctor.processes.DYING_SECONDS", 30.0)
    env = {"PATH": os.environ["PATH"], "RUNNER_RUN": str(finished.path)}
    process = subprocess.Popen(["sleep", "0.5"], env=env)
    assert findings(finished) == []
    process.wait()


def test_processes_of_another_host_are_to_be_looked_for_there(finished: RunDir) -> None:
    there = {**dead(), "host": "elsewhere"}
    (finished.path / RECORD).write_text(json.dumps({"rank": 0, "shim": there, "trainer": there}))
    ended = (finished.path / RECORD).with_name("rank-00000.json")
    assert findings(finished, least="info") == []
    ended.unlink()
    assert findings(finished, least="info") == [("info", RECORD)]
    assert "look there: runner doctor" in told(finished, RECORD)


@pytest.mark.parametrize("text", ["", "[]", '{"shim": 1}', '{"shim": {"pid": "x"}, "trainer": {}}'])
def test_a_record_that_is_none_is_a_warning(finished: RunDir, text: str) -> None:
    (finished.path / RECORD).write_text(text)
    assert findings(finished) == [("warning", RECORD)]


HOLD = """
import fcntl, json, os, subprocess, sys
from runner.process import identify
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
os.ftruncate(lock, 0)
os.pwrite(lock, json.dumps(identify(os.getpid())).encode(), 0)
if sys.argv[2] == "leave":
    print(subprocess.Popen(["sleep", "100"], pass_fds=[lock], stdout=subprocess.DEVNULL).pid, flush=True)
else:
    print(os.getpid(), flush=True)
    input()
"""


def hold(run: RunDir, how: str) -> tuple[subprocess.Popen[str], int]:
    """A process that takes the lock; with `leave` it ends and leaves it to a child. Who has it is told."""
    arguments = [sys.executable, "-c", HOLD, str(run.lock), how]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_a_lock_that_an_orphan_has_inherited_is_an_error(finished: RunDir) -> None:
    process, pid = hold(finished, "leave")
    process.communicate()
    try:
        assert findings(finished) == [("error", "lock")]
        assert told(finished, "lock") == (
            f"it is held by process {pid}, and the runner that took it is gone: no runner can start; "
            f"kill -KILL {pid}"
        )
    finally:
        os.kill(pid, 9)
    wait_until(lambda: findings(finished) == [])


def test_a_runner_that_has_just_begun_has_the_lock_and_is_not_in_the_journal(stopped: RunDir) -> None:
    """What it does before its first event (looking for GPUs, git) takes seconds."""
    (stopped.stage("stage2").path / ".metrics.jsonl.tmp").touch()
    process, _ = hold(stopped, "stay")
    assert findings(stopped, least="info") == []
    assert next(one.detail for one in examine(stopped).checks if one.name == "lock") == "held"
    process.communicate("\n")
    assert ("info", "lock") in findings(stopped, least="info")


def test_a_lock_file_of_a_dead_runner_and_a_stop_request_nobody_follows_are_told(finished: RunDir) -> None:
    finished.lock.write_text(json.dumps(dead()))
    finished.stop_file.parent.mkdir(exist_ok=True)
    finished.stop_file.write_text("{")
    assert findings(finished, least="info") == [("info", "lock"), ("info", "control/stop.json")]
    assert "the kernel has freed it" in told(finished, "lock")
    assert "the next start takes it away" in told(finished, "control/stop.json")


def test_a_lock_that_may_not_be_read_tells_nothing(finished: RunDir) -> None:
    standing = Standing(finished, History(), is_alive=False)
    assert check_lock(LockFacts(True, None, is_told=False), standing).findings == ()
    assert not check_lock(LockFacts(True, None), standing).ok


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_a_lock_file_may_hold_anything(finished: RunDir, text: str) -> None:
    finished.lock.write_text(text)
    assert findings(finished, least="info") == []
