from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.launch.values import Command
from runner.process import identify, start_ticks
from runner.rundir import StepDir
from runner.stop import StopRequests, ask_to_stop
from runner.supervise import kill_leftovers, run_to_end
from tests.runner.programme import environment


@pytest.fixture
def home(tmp_path: Path) -> StepDir:
    (tmp_path / "a").mkdir()
    return StepDir(tmp_path / "a")


@pytest.fixture
def stop(tmp_path: Path) -> StopRequests:
    return StopRequests(tmp_path / "stop.json")


def python(code: str, **env: str) -> Command:
    return Command(argv=(sys.executable, "-c", code), env=env)


def end(
    *commands: Command,
    home: StepDir,
    stop: StopRequests,
    grace_seconds: float = 600.0,
    asked: bool = False,
    env: dict[str, str] | None = None,
) -> tuple[int, ...]:
    with stop:
        return run_to_end(
            commands,
            home=home,
            env=env or environment(),
            stop=stop,
            grace_seconds=grace_seconds,
            watch=lambda: ask_to_stop(home.path.parent / "stop.json", by="test") if asked else None,
        )


def test_exit_codes_come_back_in_order_and_output_is_appended(home: StepDir, stop: StopRequests) -> None:
    home.stdout.write_text("before\n")
    codes = end(python("print('out'); raise SystemExit(3)"), python("pass"), home=home, stop=stop)
    assert codes == (3, 0)
    assert home.stdout.read_text() == "before\nout\n"


def test_launchers_get_our_environment_but_not_that_of_a_launcher_around_us(
    home: StepDir, stop: StopRequests
) -> None:
    code = (
        "import os, sys\n"
        "print(os.environ.get('PET_NPROC_PER_NODE'), os.environ['MINE'], sys.stdin.read() == '')"
    )
    env = {**environment(), "PET_NPROC_PER_NODE": "2"}
    end(python(code, MINE="yes"), home=home, stop=stop, env=env)
    assert home.stdout.read_text() == "None yes True\n"


def test_a_step_that_does_not_look_for_requests_is_ended_at_the_first(
    home: StepDir, stop: StopRequests
) -> None:
    began = time.monotonic()
    codes = end(python("import time; time.sleep(100)"), home=home, stop=stop, grace_seconds=0, asked=True)
    assert codes == (-15,)
    assert time.monotonic() - began < 10


def test_a_step_that_saves_in_its_grace_ends_by_itself(home: StepDir, stop: StopRequests) -> None:
    stop_file = str(home.path.parent / "stop.json")
    code = f"""
import pathlib, time
while not pathlib.Path({stop_file!r}).exists():
    time.sleep(0.01)
time.sleep(0.5)
raise SystemExit(75)
"""
    assert end(python(code), home=home, stop=stop, grace_seconds=30, asked=True) == (75,)


def test_a_step_that_does_not_end_in_its_grace_is_ended_and_then_killed(
    home: StepDir, stop: StopRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.supervise.TERM_GRACE_SECONDS", 0.5)
    deaf = python(
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(100)"
    )
    hearing = python("import time; time.sleep(100)")
    codes = end(deaf, hearing, home=home, stop=stop, grace_seconds=2.0, asked=True)
    assert codes == (-9, -15)


def test_when_watching_fails_the_launchers_are_killed(home: StepDir, stop: StopRequests) -> None:
    def fail() -> None:
        raise OSError("no space")

    command = python("import os, time; print(os.getpid(), flush=True); time.sleep(100)")
    with stop, pytest.raises(OSError, match="no space"):
        run_to_end([command], home=home, env=environment(), stop=stop, grace_seconds=600, watch=fail)
    if told := home.stdout.read_text():
        assert start_ticks(int(told)) is None


def test_what_an_attempt_left_running_is_killed_and_only_that(home: StepDir) -> None:
    left, other = (subprocess.Popen(["sleep", "100"]) for _ in range(2))
    logs = home.logs(1)
    logs.mkdir(parents=True)
    record = {"rank": 0, "shim": identify(left.pid), "trainer": {**identify(other.pid), "start_ticks": 1}}
    (logs / "rank-00000.pid.json").write_text(json.dumps(record))
    assert kill_leftovers(logs) == 1
    assert left.wait() == -9
    assert other.poll() is None
    other.kill()
    other.wait()
    assert kill_leftovers(logs) == 0
    assert kill_leftovers(home.logs(2)) == 0


def test_the_runner_s_own_pid_is_told_to_the_ranks(home: StepDir, stop: StopRequests) -> None:
    end(python("import os; print(os.environ['RUNNER_PID'])"), home=home, stop=stop)
    assert int(home.stdout.read_text()) == os.getpid()
