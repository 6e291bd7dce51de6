"""The tether around real processes."""

from __future__ import annotations

import os
import subprocess
import sys

from runner.process import start_ticks
from tests.runner.programme import environment, wait_until


def tether(parent: int, *argv: str) -> list[str]:
    return [sys.executable, "-m", "runner.tether", str(parent), "--", *argv]


def test_it_becomes_the_command() -> None:
    process = subprocess.Popen(tether(os.getpid(), "sleep", "100"), env=environment())
    wait_until(lambda: os.readlink(f"/proc/{process.pid}/exe").endswith(("sleep", "coreutils")))
    process.kill()
    process.wait()


def test_the_command_dies_with_the_parent() -> None:
    code = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-m', 'runner.tether', str(os.getpid()), '--', 'sleep', '100'])\n"
        "print(child.pid, flush=True)\n"
        "while not os.readlink(f'/proc/{child.pid}/exe').endswith(('sleep', 'coreutils')): pass\n"
        "print('ready', flush=True)\nchild.wait()"
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
