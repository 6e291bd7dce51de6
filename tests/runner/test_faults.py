"""Faults of the world, injected into whole runs of the stand-in trainer: each ends as the documentation says.

Those of the real trainer are in tests/test_faults.py, those of several hosts in tests/testbeds.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from onerec.pulse import read_beat
from runner.journal import read
from runner.rundir import RunDir
from tests.doctor import assert_healthy
from tests.runner.programme import (
    ROOT,
    environment,
    runner,
    start_runner,
    states,
    wait_until,
    write_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[..., subprocess.Popen[str]]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
LAUNCHERS = [
    "torchrun",
    pytest.param("mpirun", marks=pytest.mark.skipif(shutil.which("mpirun") is None, reason="needs mpirun")),
]


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "runs" / "small")


def two_ranks(launcher: str) -> list[str]:
    return settings(launcher=launcher, nproc_per_node=2)


def settings(**cluster: object) -> list[str]:
    return [part for key, value in cluster.items() for part in ("--set", f"cluster.{key}={value}")]


def processes(run: RunDir, stage: str, *, attempt: int = 1, ranks: int = 2) -> list[dict[str, Any]]:
    """Who the shims and trainers of an attempt are, once all have started."""
    paths = [run.stage(stage).logs(attempt) / f"rank-{rank:05d}.pid.json" for rank in range(ranks)]
    wait_until(lambda: all(path.exists() for path in paths))
    return [json.loads(path.read_text()) for path in paths]


@pytest.fixture
def started() -> Iterator[Start]:
    """Runners left running, which do not outlive the test."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        running.append(start_runner(*arguments))  # type: ignore[arg-type]
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def waiting(run: RunDir, stage: str) -> None:
    wait_until((run.stage(stage).path / "waiting").exists)


def failures(run: RunDir) -> list[dict[str, Any]]:
    """What the journal says of each attempt that failed."""
    return [event["failure"] for event in read(run.events) if "failure" in event]  # type: ignore[misc]


def left_alive(folder: Path) -> list[str]:
    """Command lines of processes that have the folder in their environment or arguments."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(folder / "runs").encode() in told and int(entry.name) != os.getpid():
            found.append((entry / "cmdline").read_text().replace("\0", " "))
    return found


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("victim", ["launcher", "shim", "trainer"])
def test_what_is_killed_is_started_again_and_the_run_comes_to_its_end(
    started: Start, tmp_path: Path, run: RunDir, launcher: str, victim: str
) -> None:
    manifest = write_manifest(tmp_path, {"first": {"wait": True, "attempts": [1]}})
    process = started(tmp_path, manifest, *two_ranks(launcher), *settings(max_restarts=1))
    found = processes(run, "first")
    waiting(run, "first")
    shim, trainer = found[1]["shim"]["pid"], found[1]["trainer"]["pid"]
    pid = {"launcher": parent(shim), "shim": shim, "trainer": trainer}[victim]
    os.kill(pid, signal.SIGKILL)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "starting it again in" in output
    (failure,) = failures(run)
    assert failure["kind"] == ("launcher" if victim == "launcher" else "killed")
    assert failure["rank"] == {"launcher": None, "shim": 1, "trainer": 1}[victim]
    assert left_alive(tmp_path) == []
    assert_healthy(run.path)


def test_a_stopped_rank_is_found_named_and_started_again(started: Start, tmp_path: Path, run: RunDir) -> None:
    manifest = write_manifest(tmp_path, {"first": {"wait": True, "attempts": [1]}})
    limits = settings(max_restarts=1, step_timeout_seconds=1.5)
    process = started(tmp_path, manifest, *two_ranks("torchrun"), *limits)
    found = processes(run, "first")
    beat = run.stage("first").heartbeat(1, 1)
    wait_until(lambda: read_beat(beat) is not None and read_beat(beat).phase == "step")  # type: ignore[union-attr]
    began = time.monotonic()
    os.kill(found[1]["trainer"]["pid"], signal.SIGSTOP)
    wait_until(lambda: len(failures(run)) == 1, seconds=20)
    assert time.monotonic() - began < 15
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    where = f"rank 1 on {os.uname().nodename} hung in step 6: nothing new for"
    assert where in output
    assert "(limit 1.5 s); its process is stopped" in output
    (failure,) = failures(run)
    assert (failure["kind"], failure["rank"]) == ("hang", 1)
    assert "State:\tT (stopped)" in run.stage("first").stacks(1, 1).read_text()
    assert "in wait_as_told" in run.stage("first").stacks(1, 0).read_text()
    assert left_alive(tmp_path) == []
    assert_healthy(run.path)


def test_a_rank_that_sleeps_for_ever_is_told_from_those_that_wait_for_it(tmp_path: Path, run: RunDir) -> None:
    manifest = write_manifest(tmp_path, {"first": {"hang": True, "rank": 1}})
    limits = settings(max_restarts=0, step_timeout_seconds=1.5)
    ended = runner(tmp_path, manifest, *two_ranks("torchrun"), *limits)
    assert ended.returncode == 8
    assert "hung waiting for the data of step 6: nothing new for" in ended.stdout
    told = json.loads(run.stage("first").failure(1).read_text())
    assert (told["rank"], told["collateral"], told["kind"], told["exit_code"]) == (1, [0], "hang", 8)
    assert "in sleep_for_ever" in run.stage("first").stacks(1, 1).read_text()
    assert left_alive(tmp_path) == []


def test_ranks_that_never_get_ready_are_found_too(tmp_path: Path, run: RunDir) -> None:
    manifest = write_manifest(tmp_path, {"first": {"hang": True, "never_ready": True}})
    ended = runner(tmp_path, manifest, *settings(max_restarts=0, setup_timeout_seconds=1.5))
    assert ended.returncode == 8
    assert "hung before its first step was done: nothing new for" in ended.stdout
    assert_healthy(run.path)


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize(
    ("orders", "kind", "words"),
    [
        (
            {"exception": "a bad value", "collateral": "Connection closed by peer [127.0.0.1]:1234"},
            "exception",
            "ValueError: a bad value",
        ),
        ({"signal": int(signal.SIGKILL), "collateral": "Connection reset by peer"}, "killed", None),
        ({"signal": int(signal.SIGSEGV), "collateral": "wait timeout after 3 ms"}, "crash", None),
    ],
)
def test_the_first_rank_that_failed_by_itself_is_named(
    tmp_path: Path, run: RunDir, launcher: str, orders: dict[str, object], kind: str, words: str | None
) -> None:
    manifest = write_manifest(tmp_path, {"first": {**orders, "rank": 1}})
    ended = runner(tmp_path, manifest, *two_ranks(launcher))
    assert ended.returncode == 1
    told = json.loads(run.stage("first").failure(1).read_text())
    assert (told["kind"], told["rank"], told["exception"]) == (kind, 1, words)
    assert told["last_lines"][0] == "about to fail"
    assert told["log"] == "logs/attempt-1/rank-00001.stderr"
    assert f"first failed (attempt 1): rank 1 on {os.uname().nodename}" in ended.stdout
    assert_healthy(run.path)


def test_the_same_error_twice_without_progress_is_not_tried_a_third_time(tmp_path: Path, run: RunDir) -> None:
    manifest = write_manifest(tmp_path, {"first": {"exception": "always"}})
    # the first attempt leaves a checkpoint, the second one none that is newer
    ended = runner(tmp_path, manifest, *settings(max_restarts=5))
    assert ended.returncode == 7
    assert "2 attempts in a row ended with this" not in ended.stdout.partition("attempt 2")[0]
    assert len(failures(run)) == 3
    assert_healthy(run.path)


@pytest.mark.parametrize("code", [2, 4, 6, 7, 9])
def test_what_a_person_has_to_mend_is_not_tried_again(tmp_path: Path, run: RunDir, code: int) -> None:
    ended = runner(tmp_path, write_manifest(tmp_path, {"first": {"code": code}}), *settings(max_restarts=3))
    assert (ended.returncode, len(failures(run))) == (code, 1)


def test_sigterm_saves_and_a_second_one_ends_at_once(started: Start, tmp_path: Path, run: RunDir) -> None:
    manifest = write_manifest(tmp_path, {"first": {"wait": True}})
    process = started(tmp_path, manifest)
    waiting(run, "first")
    process.terminate()
    process.communicate(timeout=30)
    assert (process.returncode, run.stage("first").latest.read_text()) == (75, "step7")
    deaf = write_manifest(tmp_path, {"second": {"hang": True}})
    process = started(tmp_path, deaf)
    processes(run, "second", ranks=1)
    process.terminate()
    time.sleep(1.2)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 75
    assert left_alive(tmp_path) == []
    assert_healthy(run.path)


def test_stop_now_does_not_wait_for_a_save(started: Start, tmp_path: Path, run: RunDir) -> None:
    process = started(tmp_path, write_manifest(tmp_path, {"first": {"hang": True}}))
    processes(run, "first", ranks=1)
    began = time.monotonic()
    assert runner(tmp_path, "stop", "--now").returncode == 0
    process.communicate(timeout=30)
    assert (process.returncode, time.monotonic() - began < 20) == (75, True)
    assert_healthy(run.path)


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600m", "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@needs_root
def test_a_read_only_run_directory_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    disk = tmp_path / "runs"
    with small_disk(disk):
        manifest = write_manifest(tmp_path, {"second": {"code": 1}})
        assert runner(tmp_path, manifest).returncode == 1
        run = RunDir(disk / "small")
        before = run.events.read_bytes()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        ended = runner(tmp_path, "resume")
        assert ended.returncode == 3
        assert f"output_dir: {disk} is no folder that can be written to" in ended.stderr
        assert run.events.read_bytes() == before
        assert runner(tmp_path, "status").returncode == 0
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        write_manifest(tmp_path)
        assert runner(tmp_path, manifest).returncode == 0
        assert_healthy(run.path)


def fill_last_page(journal: Path) -> None:
    """Blanks behind the last event, so that the page that a full disk has left to the file is full too."""
    room = -journal.stat().st_size % os.sysconf("SC_PAGE_SIZE")
    with journal.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b" " * room + b"\n")


@needs_root
def test_a_disk_that_fills_while_a_stage_runs_loses_nothing(started: Start, tmp_path: Path) -> None:
    disk = tmp_path / "runs"
    with small_disk(disk):
        manifest = write_manifest(tmp_path, {"first": {"wait": True, "attempts": [1]}})
        run = RunDir(disk / "small")
        process = started(tmp_path, manifest)
        waiting(run, "first")
        filler = disk / "filler"
        with filler.open("wb") as file:
            try:
                while True:
                    file.write(b"x" * (1 << 20))
                    file.flush()
            except OSError:
                pass
        fill_last_page(run.events)
        pid = processes(run, "first", ranks=1)[0]["trainer"]["pid"]
        os.kill(pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 9
        assert "No space left on device" in errors
        filler.unlink()
        assert left_alive(tmp_path) == []
        assert runner(tmp_path, manifest).returncode == 0
        assert_healthy(run.path)


def test_a_torn_journal_and_a_clock_that_jumped_back_lose_nothing(tmp_path: Path, run: RunDir) -> None:
    manifest = write_manifest(tmp_path, {"second": {"code": 1, "attempts": [1]}})
    ahead = "import time; real = time.time; time.time = lambda: real() + 1e6"
    run_main(tmp_path, ahead, manifest)
    with run.events.open("r+b") as file:
        file.truncate(run.events.stat().st_size - 7)
    document = json.loads(runner(tmp_path, "status", "--json").stdout)
    figures = [
        value for stage in document["stages"] for value in stage.values() if isinstance(value, (int, float))
    ]
    assert min(figures) >= 0
    assert states(tmp_path)["first"] == "done"
    assert runner(tmp_path, manifest).returncode == 0
    assert set(states(tmp_path).values()) == {"done"}


def run_main(
    folder: Path, change: str, *arguments: object, path: str = ""
) -> subprocess.CompletedProcess[str]:
    """The runner's command line with something about its world changed first."""
    lines = [
        f"import sys; sys.path[:0] = [{str(ROOT)!r}]",
        change,
        f"sys.argv[1:] = {list(map(str, arguments))!r}",
        "from runner.cli import main; main()",
    ]
    return subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=folder,
        env={**environment(), "PATH": os.pathsep.join(filter(None, [path, environment()["PATH"]]))},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.mark.slow
def test_a_port_that_is_taken_costs_one_attempt(tmp_path: Path, run: RunDir) -> None:
    """Two addresses of this host stand for two hosts; the ssh between them runs the command here."""
    (tmp_path / "bin").mkdir()
    ssh = tmp_path / "bin" / "ssh"
    ssh.write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
    ssh.chmod(0o755)
    hosts = tmp_path / "hosts"
    hosts.write_text("localhost slots=1\n127.0.0.2 slots=1\n")
    manifest = write_manifest(tmp_path)
    overrides = settings(launcher="torchrun", hostfile=hosts, nnodes=2, max_restarts=2)
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        # the first stage that trains is the fifth step
        ports = [*range(23456, 23460), taken.getsockname()[1], *range(23460, 23480)]
        change = (
            "import runner.attempt, runner.cli.bring\n"
            f"runner.attempt._choose_port = iter({ports!r}).__next__\n"
            "runner.cli.bring._may_start = lambda *_, **__: ()"  # preflight asks hosts that are none
        )
        ended = run_main(tmp_path, change, manifest, *overrides, path=str(tmp_path / "bin"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "starting it again in" in ended.stdout
