"""The tether around real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from runner.process import start_ticks
from tests.runner.programme import environment, wait_until

SLEEP = ("sleep", "coreutils", "busybox")


def tether(parent: int, *argv: str) -> list[str]:
    return [sys.executable, "-m", "runner.tether", str(parent), "--", *argv]


def test_it_becomes_the_command() -> None:
    process = subprocess.Popen(tether(os.getpid(), "sleep", "100"), env=environment())
    wait_until(lambda: Path(f"/proc/{process.pid}/exe").readlink().name in SLEEP)
    process.kill()
    process.wait()


def test_the_command_dies_with_the_parent() -> None:
    code = (
        "import os, subprocess, sys\n"
        "tether = [sys.executable, '-m', 'runner.tether', str(os.getpid()), '--', 'sleep', '100']\n"
        "child = subprocess.Popen(tether)\n"
        "print(child.pid, flush=True)\n"
        f"while os.path.basename(os.readlink(f'/proc/{{child.pid}}/exe')) not in {SLEEP}: pass\n"
        "print('ready', flush=True)\n"
        "child.wait()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    child = int(parent.stdout.readline())
    parent.stdout.readline()
    parent.kill()
    parent.communicate()
    wait_until(lambda: start_ticks(child) is None, seconds=3)


def test_nothing_starts_for_a_parent_that_is_gone() -> None:
    ended = subprocess.run(tether(1, "echo", "here"), env=environment(), capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (71, b"")
