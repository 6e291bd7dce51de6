from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.lock import RunInUseError, age_seconds, hold, renew
from tests.runner.programme import environment

HOLDER = """
import pathlib, subprocess, sys, time
from runner.lock import hold
with hold(pathlib.Path(sys.argv[1])):
    subprocess.Popen(["sleep", "2"])  # an orphan that must not keep the lock
    print("held", flush=True)
    time.sleep(100)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "small" / "lock"


def test_a_second_holder_is_refused_with_the_name_of_the_first(path: Path) -> None:
    with hold(path), pytest.raises(RunInUseError) as refused, hold(path):
        pass
    assert refused.value.exit_code == 5
    assert f"process {os.getpid()} on host {os.uname().nodename} since 20" in str(refused.value)
    assert f"runner stop {path.parent}" in str(refused.value)


def test_it_can_be_taken_again_after_it_was_given_back(path: Path) -> None:
    for _ in range(2):
        with hold(path):
            pass


def test_a_killed_holder_frees_it_though_its_child_lives_on(path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], env=environment(), stdout=subprocess.PIPE
    )
    assert holder.stdout
    holder.stdout.readline()
    with pytest.raises(RunInUseError), hold(path):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with hold(path):
        pass


def test_renewing_shows_that_the_holder_lives(path: Path) -> None:
    assert age_seconds(path) == float("inf")
    with hold(path):
        os.utime(path, (0, 0))
        assert age_seconds(path) > 1e9
        renew(path)
        assert age_seconds(path) < 5
