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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_scheduler_s_signal_asks_for_a_clean_stop_however_often(stop_file: Path, number: int) -> None:
    with StopRequests(stop_file) as stop:
        for _ in range(3):
            os.kill(os.getpid(), number)
        assert (stop.level, stop.exit_code) == (1, 75)


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
