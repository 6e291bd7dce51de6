from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onerec.pulse import read_beacon
from runner.lease import LEASE_SECONDS, HeldLease, SeenLease, first_look, hold_lease
from runner.rundir import RunDir
from tests.runner.programme import environment, wait_until


def seen(*, far: bool = True, now: float = 0.0) -> SeenLease:
    document = {"nonce": "n", "host": "other" if far else "here", "count": 1}
    lease = first_look(document, nonce="n", host="here", now=now)
    assert lease is not None
    return lease


@pytest.mark.parametrize(
    ("document", "nonce"),
    [(None, "n"), ({"nonce": "older", "host": "a", "count": 1}, "n"), ({"nonce": "", "host": "a"}, "")],
)
def test_a_command_run_by_hand_has_no_lease(document: dict[str, object] | None, nonce: str) -> None:
    assert first_look(document, nonce=nonce, host="a", now=0) is None


def test_a_lease_that_is_gone_twice_in_a_row_is_lost_wherever_the_runner_is() -> None:
    for far in (False, True):
        once = seen(far=far).seen(None, now=1)
        assert once.lost(now=1) is None
        assert once.seen(None, now=2).lost(now=2) == "its attempt is over"
        again = once.seen({"nonce": "n", "count": 2}, now=2).seen(None, now=3)
        assert again.lost(now=3) is None


def test_another_attempt_s_lease_is_none() -> None:
    other = {"nonce": "m", "count": 5}
    assert seen().seen(other, now=1).seen(other, now=2).lost(now=2) == "its attempt is over"


def test_a_lease_that_is_not_renewed_is_lost_on_another_host_only() -> None:
    document = {"nonce": "n", "count": 1}
    later = LEASE_SECONDS + 1
    assert seen().seen(document, now=later).lost(now=later) == (
        "its runner on another host gave no sign of life for 30 s"
    )
    assert seen(far=False).seen(document, now=later).lost(now=later) is None
    assert seen().seen({"nonce": "n", "count": 2}, now=later).lost(now=later) is None


def test_it_is_shown_renewed_and_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "control" / "lease.json"
    with hold_lease(path, nonce="n") as lease:
        assert read_beacon(path) == {"nonce": "n", "host": os.uname().nodename, "count": 1}
        lease.renew()
        assert (read_beacon(path) or {})["count"] == 2
    assert not path.exists()


def test_a_trainer_ends_when_the_lease_of_its_attempt_is_taken_away(tmp_path: Path) -> None:
    """As on a host that no signal reaches: here it is only the file that tells."""
    run = RunDir(tmp_path)
    lease = HeldLease(run.lease, nonce="n")
    shim = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "runner.rank",
            "--log-dir",
            str(tmp_path),
            "--",
            "-c",
            "import time; time.sleep(99)",
        ],
        env={**environment(), "RUNNER_RUN": str(tmp_path), "RUNNER_NONCE": "n", "RANK": "1"},
    )
    wait_until((tmp_path / "rank-00001.pid.json").exists)
    time.sleep(0.3)
    lease.give_up()
    assert shim.wait(timeout=10) == 128 + signal.SIGKILL
    record = json.loads((tmp_path / "rank-00001.json").read_text())
    assert (record["told_to_stop"], record["exception"]) == (True, "its attempt is over")
