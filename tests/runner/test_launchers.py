"""The real torchrun and mpirun around the stand-in trainer: the same outcome under both."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from runner.process import start_ticks
from runner.rundir import RunDir
from tests.doctor import assert_healthy
from tests.runner.programme import STEPS, runner, start_runner, states, wait_until, write_manifest

LAUNCHERS = [
    "torchrun",
    pytest.param("mpirun", marks=pytest.mark.skipif(shutil.which("mpirun") is None, reason="needs mpirun")),
]


def settings(launcher: str) -> list[str]:
    return ["--set", f"cluster.launcher={launcher}", "--set", "cluster.nproc_per_node=2"]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_ranks_come_to_their_end(tmp_path: Path, launcher: str) -> None:
    ended = runner(tmp_path, write_manifest(tmp_path), *settings(launcher))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert states(tmp_path) == dict.fromkeys(STEPS, "done")
    home = RunDir(tmp_path / "runs" / "small").stage("first")
    assert home.stdout.read_text() == "train attempt 1 rank 0\n"
    records = [json.loads((home.logs(1) / f"rank-0000{rank}.json").read_text()) for rank in (0, 1)]
    assert [(found["rank"], found["exit_code"]) for found in records] == [(0, 0), (1, 0)]


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize(
    ("orders", "code", "reason"),
    [
        ({"code": 9}, 9, "exited 9"),
        ({"signal": int(signal.SIGKILL)}, 1, "was killed by SIGKILL"),
    ],
)
def test_the_rank_that_failed_first_is_named(
    tmp_path: Path, launcher: str, orders: dict[str, object], code: int, reason: str
) -> None:
    manifest = write_manifest(tmp_path, {"first": {**orders, "rank": 1, "delay": 100}})
    ended = runner(tmp_path, manifest, *settings(launcher))
    assert ended.returncode == code
    assert f"first failed (attempt 1): rank 1 on {os.uname().nodename} {reason}" in ended.stdout
    assert_healthy(tmp_path / "runs" / "small")


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_nothing_outlives_a_killed_runner(tmp_path: Path, launcher: str) -> None:
    manifest = write_manifest(tmp_path, {"first": {"wait": True}})
    process = start_runner(tmp_path, manifest, *settings(launcher))
    logs = RunDir(tmp_path / "runs" / "small").stage("first").logs(1)
    paths = [logs / f"rank-0000{rank}.pid.json" for rank in (0, 1)]
    wait_until(lambda: all(path.exists() for path in paths))
    pids = [json.loads(path.read_text())[role]["pid"] for path in paths for role in ("shim", "trainer")]
    process.kill()
    process.communicate()
    wait_until(lambda: all(start_ticks(pid) is None for pid in pids), seconds=5)
    assert_healthy(tmp_path / "runs" / "small")


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_ctrl_c_stops_all_ranks_cleanly(tmp_path: Path, launcher: str) -> None:
    manifest = write_manifest(tmp_path, {"first": {"wait": True}})
    process = start_runner(tmp_path, manifest, *settings(launcher))
    home = RunDir(tmp_path / "runs" / "small").stage("first")
    wait_until((home.path / "waiting").exists)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert (process.returncode, home.latest.read_text()) == (130, "step7")
    assert "first: interrupted, stopped on request" in output
    assert_healthy(tmp_path / "runs" / "small")


def test_torchrun_meets_itself_over_two_hosts(tmp_path: Path) -> None:
    """The second host is another address of this one, and ssh a program that runs the command here."""
    (tmp_path / "bin").mkdir()
    ssh = tmp_path / "bin" / "ssh"
    ssh.write_text('#!/bin/sh\nshift $(($# - 3))\necho "$1 $2" > "$(dirname "$0")/called"\nexec sh -c "$3"\n')
    ssh.chmod(0o755)
    hostfile = tmp_path / "hosts"
    hostfile.write_text("localhost slots=1\n127.0.0.2 slots=1\n")
    overrides = ["cluster.launcher=torchrun", f"cluster.hostfile={hostfile}", "cluster.nnodes=2"]
    options = [part for override in overrides for part in ("--set", override)]
    ended = runner(tmp_path, write_manifest(tmp_path), *options, path=str(tmp_path / "bin"))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (tmp_path / "bin" / "called").read_text() == "127.0.0.2 --\n"
    logs = RunDir(tmp_path / "runs" / "small").stage("first").logs(1)
    records = [json.loads((logs / f"rank-0000{rank}.json").read_text()) for rank in (0, 1)]
    assert [(found["rank"], found["exit_code"]) for found in records] == [(0, 0), (1, 0)]
