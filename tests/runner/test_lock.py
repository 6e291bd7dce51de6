from __future__ import annotations

import json
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

RACER = """
import pathlib, sys
from runner.lock import RunInUseError, hold
path, name = pathlib.Path(sys.argv[1]), sys.argv[2]
inside, won = path.parent / "inside", 0
for _ in range(20000):
    try:
        with hold(path):
            assert not inside.exists() or inside.read_text() == ""
            inside.write_text(name)
            assert inside.read_text() == name
            inside.write_text("")
            won += 1
    except RunInUseError:
        pass
    if won == 100:
        break
print(won)
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


def test_a_hundred_races_have_one_winner_each(path: Path) -> None:
    """Two processes try again and again; each writes its name while it holds, and finds no other name."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(path), str(n)], env=environment(), stdout=subprocess.PIPE
        )
        for n in (1, 2)
    ]
    won = [int(racer.communicate(timeout=60)[0]) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert sum(won) >= 100


def far_owner(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "since": "today"}))


def test_a_holder_on_another_host_that_renews_is_in_the_way_where_locks_do_not_reach(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far_owner(path)
    looks = iter(range(100))
    monkeypatch.setattr("runner.lock.POLL_SECONDS", 0.01)
    monkeypatch.setattr("runner.lock._renewed", lambda _: next(looks))
    with pytest.raises(RunInUseError, match="process 1 on host elsewhere since today"), hold(path):
        pass


def test_a_holder_on_another_host_that_is_gone_is_not(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far_owner(path)
    monkeypatch.setattr("runner.lock.FAR_SECONDS", 0.2)
    monkeypatch.setattr("runner.lock.POLL_SECONDS", 0.05)
    with hold(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_lock_file_that_was_deleted_is_made_anew(path: Path) -> None:
    with hold(path):
        path.unlink()
        with hold(path), pytest.raises(RunInUseError), hold(path):
            pass


def test_renewing_shows_that_the_holder_lives(path: Path) -> None:
    assert age_seconds(path) == float("inf")
    with hold(path):
        os.utime(path, (0, 0))
        assert age_seconds(path) > 1e9
        renew(path)
        assert age_seconds(path) < 5
