from __future__ import annotations

import os
import signal
import subprocess

from runner.process import identify, is_alive, kill, start_ticks
from tests.runner.programme import wait_until


def test_a_living_process_is_known_by_its_identity() -> None:
    assert is_alive(identify(os.getpid()))


def test_a_later_process_of_the_same_number_another_boot_and_another_host_are_not_it() -> None:
    identity = identify(os.getpid())
    assert not is_alive({**identity, "start_ticks": identity["start_ticks"] + 1})
    assert not is_alive({**identity, "boot_id": "another"})
    assert not is_alive({**identity, "host": "another"})


def test_a_zombie_is_dead() -> None:
    process = subprocess.Popen(["sleep", "100"])
    identity = identify(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: start_ticks(process.pid) is None)  # not yet waited for
    assert not is_alive(identity)
    process.wait()


def test_only_exactly_that_process_is_killed() -> None:
    process = subprocess.Popen(["sleep", "100"])
    identity = identify(process.pid)
    assert not kill({**identity, "start_ticks": 1})
    assert process.poll() is None
    assert kill(identity)
    assert process.wait() == -signal.SIGKILL
