from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from runner.stop import StopRequests, ask_to_stop


@pytest.fixture
def stop_file(tmp_path: Path) -> Path:
    return tmp_path / "control" / "stop.json"


def test_nothing_is_asked_at_the_start_whatever_was_asked_before(stop_file: Path) -> None:
    ask_to_stop(stop_file, by="runner stop")
    with StopRequests(stop_file) as stop:
        assert (stop.level, stop_file.exists()) == (0, False)


def test_each_ctrl_c_asks_for_more(stop_file: Path) -> None:
    with StopRequests(stop_file) as stop:
        levels = []
        for _ in range(4):
            os.kill(os.getpid(), signal.SIGINT)
            levels.append(stop.level)
        assert (levels, stop.exit_code) == ([1, 2, 3, 3], 130)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP])
def test_a_second_signal_asks_for_more_but_not_the_same_one_sent_twice(
    stop_file: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_DFL)  # nohup may be around the tests
    with StopRequests(stop_file, clock=lambda: now) as stop:
        levels = []
        for at in (100.0, 100.2, 102.0, 110.0, 120.0):
            now = at
            os.kill(os.getpid(), number)
            levels.append(stop.level)
        assert (levels, stop.exit_code) == ([1, 1, 2, 3, 3], 75)


def test_a_closed_terminal_does_not_stop_a_run_under_nohup(stop_file: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequests(stop_file) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.level == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("written", "level"), [("{}", 1), ('{"level": 2}', 2), ('{"level": 9}', 1), ("torn", 1)]
)
def test_the_control_file_says_how_soon(stop_file: Path, written: str, level: int) -> None:
    with StopRequests(stop_file) as stop:
        stop_file.parent.mkdir(exist_ok=True)
        stop_file.write_text(written)
        assert stop.level == level


def test_the_control_file_asks_too(stop_file: Path) -> None:
    with StopRequests(stop_file) as stop:
        ask_to_stop(stop_file, by="runner stop")
        assert (stop.level, stop.exit_code) == (1, 75)
        stop.spread()
        assert json.loads(stop_file.read_text())["by"] == "runner stop"


def test_a_signal_is_spread_to_all_processes_by_the_control_file(stop_file: Path) -> None:
    with StopRequests(stop_file) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        stop.spread()
    assert json.loads(stop_file.read_text())["by"] == "signal"


def test_the_handlers_from_before_come_back(stop_file: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    with StopRequests(stop_file):
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
