"""Half an hour of faults: one programme after the other is disturbed, and ends as if nothing was."""

import json
import os
import random
import time
from collections import Counter

import pytest

from runner.journal import read
from runner.rundir import RunDir
from tests import faults
from tests.doctor import assert_healthy
from tests.tiny_run import STAGES, checkpoint_bits, curves, runner, two_ranks, write_manifest

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "1800"))
LONGEST_CALM = 30.0
"""Seconds between two faults; a start takes ten on two busy cores."""
LIMITS = (
    "\nmax_restarts = 50\nstep_timeout_seconds = 4\nsetup_timeout_seconds = 60\nstop_grace_seconds = 60\n"
)
AGAIN = (0, 1, 7, 75, -9, -15)
"""Exit codes after which a person, or a scheduler, gives the same command again."""


def cluster(folder):
    return two_ranks(folder, "torchrun") + LIMITS


@pytest.mark.slow
def test_thirty_minutes_of_faults_change_no_bit(tiny_programme, tmp_path):
    calm = tmp_path / "calm"
    calm.mkdir()
    runner(calm, write_manifest(calm, tiny_programme, cluster=cluster(calm)))
    began, number, hit, survived = time.monotonic(), 0, Counter(), Counter()
    while time.monotonic() - began < SOAK_SECONDS:
        folder = tmp_path / f"stormy-{number}"
        folder.mkdir()
        hit += storm(folder, write_manifest(folder, tiny_programme, cluster=cluster(folder)), seed=number)
        assert curves(folder) == curves(calm), f"programme {number} has other curves"
        for stage in STAGES:
            newest = (calm / "runs/tiny" / stage / "latest").read_text().strip()
            assert checkpoint_bits(folder, newest, stage=stage) == checkpoint_bits(calm, newest, stage=stage)
        assert_healthy(folder / "runs/tiny")
        survived += Counter(kinds(folder))
        number += 1
        told = {"programmes": number, "faults": dict(hit), "found": dict(survived)}
        (tmp_path / "soak.json").write_text(json.dumps(told | {"seconds": time.monotonic() - began}))
    print(json.dumps(told))


def storm(folder, manifest, *, seed):
    """Bring one programme to its end through faults at random moments; counts what was hit."""
    pick, hit = random.Random(seed), Counter()
    while True:
        process = faults.start(folder, manifest)
        while process.poll() is None:
            moment = time.monotonic() + pick.uniform(1, LONGEST_CALM)
            while process.poll() is None and time.monotonic() < moment:
                time.sleep(0.05)
            fault = pick.choice(faults.FAULTS)
            if process.poll() is None and faults.inject(fault, folder, process, pick):
                hit[fault] += 1
        faults.await_nothing_left(folder)
        if (folder / "runs/tiny/events.jsonl").exists():
            assert_healthy(folder / "runs/tiny")
        assert process.returncode in AGAIN, (folder / "output.txt").read_text()[-3000:]
        if process.returncode == 0:
            return hit


def kinds(folder):
    """What the runner said of the attempts that failed."""
    events = read(RunDir(folder / "runs/tiny").events)
    return [event["failure"]["kind"] for event in events if "failure" in event]
