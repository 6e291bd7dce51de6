"""An ssh that fails by itself is no failure of an elastic run; everything else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from runner.process import start_ticks
from tests.runner.programme import ROOT, wait_until

if TYPE_CHECKING:
    from pathlib import Path

START = [sys.executable, "-m", "runner.lost_host", "--", "sh", "-c"]


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 255", 0), ("exit 3", 3), ("kill -9 $$", 137)]
)
def test_only_255_becomes_a_good_end(script: str, code: int) -> None:
    assert subprocess.run([*START, script], cwd=ROOT, check=False).returncode == code


def test_the_command_dies_with_it(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    process = subprocess.Popen([*START, f"echo $$ > {told}; exec sleep 60"], cwd=ROOT)
    wait_until(lambda: told.exists() and told.read_text().endswith("\n"))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: start_ticks(int(told.read_text())) is None, seconds=5)
