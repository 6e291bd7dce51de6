"""Whether a runner is still at work, from every place where one may look at it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from runner.lock import hold
from runner.owner import Onlooker, is_at_work, look
from runner.process import Identity, identify

OWNER: Identity = {"host": "host1", "boot_id": "boot1", "pid": 5, "start_ticks": 6}
HERE, ELSEWHERE = "host1", "host2"


@pytest.mark.parametrize(
    ("seen", "at_work"),
    [
        pytest.param(Onlooker(HERE, "boot1", 6, True, 3.0), True, id="lives here and holds the lock"),
        pytest.param(Onlooker(HERE, "boot1", 6, None, 3.0), True, id="lives here as another user"),
        pytest.param(Onlooker(HERE, "boot1", 6, None, None), True, id="lives here, its lock was deleted"),
        pytest.param(Onlooker(HERE, "boot1", 6, True, 1e6), True, id="was stopped, and goes on"),
        pytest.param(Onlooker(HERE, "boot1", 6, True, -1e6), True, id="lives here, the clock went back"),
        pytest.param(
            Onlooker(HERE, "boot1", 6, False, 3.0), False, id="lives, but on what this is a copy of"
        ),
        pytest.param(Onlooker(HERE, "boot1", None, None, 3.0), False, id="was killed a moment ago"),
        pytest.param(Onlooker(HERE, "boot1", 7, None, 3.0), False, id="another process has its number"),
        pytest.param(Onlooker(HERE, "boot2", 6, None, 3.0), False, id="the host was started anew"),
        pytest.param(Onlooker(ELSEWHERE, "b", None, None, 3.0), True, id="elsewhere, renews its lock"),
        pytest.param(Onlooker(ELSEWHERE, "b", None, None, -3.0), True, id="elsewhere, its clock is ahead"),
        pytest.param(Onlooker(ELSEWHERE, "b", None, None, 61.0), False, id="elsewhere, silent for long"),
        pytest.param(Onlooker(ELSEWHERE, "b", None, None, -61.0), False, id="elsewhere, from the future"),
        pytest.param(Onlooker(ELSEWHERE, "b", None, None, None), False, id="elsewhere, without a lock"),
    ],
)
def test_who_is_at_work(seen: Onlooker, at_work: bool) -> None:
    assert is_at_work(OWNER, seen) is at_work


def test_a_copy_of_a_run_at_work_is_not_at_work_and_a_moved_one_is(tmp_path: Path) -> None:
    run, me = tmp_path / "run", identify(os.getpid())
    with hold(run / "lock"):
        shutil.copytree(run, tmp_path / "copy")
        run.rename(tmp_path / "moved")
        assert is_at_work(me, look(me, tmp_path / "moved" / "lock"))
        assert not is_at_work(me, look(me, tmp_path / "copy" / "lock"))


def test_what_is_seen_of_processes_and_locks(tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "100"])
    owner, lock = identify(process.pid), tmp_path / "lock"
    seen = look(owner, lock)
    assert (seen.start_ticks, seen.holds_lock, seen.lock_age) == (owner["start_ticks"], None, None)
    lock.touch()
    os.utime(lock, (time.time() + 100, time.time() + 100))
    seen = look(owner, lock)
    assert seen.holds_lock is False
    assert seen.lock_age == pytest.approx(-100, abs=5)
    process.kill()
    process.wait()
    assert look(owner, lock).start_ticks is None
    assert look({**owner, "host": "elsewhere"}, lock).holds_lock is None
