"""The watcher of srun, with an srun whose task is no child of it, as under Slurm."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.process import start_ticks
from tests.runner.programme import environment, wait_until

PROGRAMS = {
    "launch": (
        "setsid sleep 300 > /dev/null 2>&1 &\n"
        "echo $! > TASK; echo $$ > SRUN\n"
        "[ $1 = ends ] && exit $2\n"
        "exec sleep 300"
    ),
    "squeue": "grep -q 'State:.[^Z]' /proc/$(cat TASK)/status && echo '7.0|a-1.run'; echo '7.batch|batch'",
    "scancel": 'echo "$*" >> CALLS; kill -9 $(cat TASK)',
}
"""launch is srun."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in PROGRAMS.items():
        told = re.sub("TASK|CALLS|SRUN", lambda found: str(tmp_path / found[0]), text)
        (tmp_path / name).write_text(f"#!/bin/bash\n{told}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "TASK").write_text("no process\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    yield tmp_path
    subprocess.run([tmp_path / "scancel"], stderr=subprocess.DEVNULL, check=False)


def watch(
    place: Path, *arguments: str, name: str = "a-1.run", shell: bool = False
) -> subprocess.Popen[bytes]:
    """The watcher around an srun; with `shell`, below a process that can be killed."""
    argv = [sys.executable, "-m", "runner.slurm.step", "a-1.run", "--", str(place / "launch"), *arguments]
    if shell:
        tether = f"{sys.executable} -m runner.tether $$ --"  # as every launcher is started
        argv = ["bash", "-c", f"{tether} {' '.join(argv)}; true"]
    with (place / "stderr").open("ab") as log:
        return subprocess.Popen(argv, env=environment(), stderr=log)


def calls(place: Path) -> list[str]:
    path = place / "CALLS"
    return path.read_text().splitlines() if path.exists() else []


def srun(place: Path) -> int:
    """Pid of the srun, once its task runs."""
    path = place / "SRUN"
    wait_until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def test_what_srun_ends_with_is_passed_on_and_its_step_is_gone(place: Path) -> None:
    process = watch(place, "ends", "75")
    assert (process.wait(timeout=20), calls(place)) == (75, ["--signal=KILL 7.0"])


def test_the_tasks_of_an_srun_that_was_killed_are_killed(place: Path) -> None:
    process = watch(place, "runs")
    os.kill(srun(place), signal.SIGKILL)
    assert (process.wait(timeout=20), calls(place)) == (137, ["--signal=KILL 7.0"])


def test_the_tasks_die_when_the_runner_does(place: Path) -> None:
    process = watch(place, "runs", shell=True)
    pid = srun(place)
    process.kill()
    wait_until(lambda: calls(place) == ["--signal=KILL 7.0"])
    assert start_ticks(pid) is None
    process.wait()


def test_a_request_to_end_is_left_to_srun(place: Path) -> None:
    process = watch(place, "runs")
    pid = srun(place)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    os.kill(pid, signal.SIGTERM)
    assert process.wait(timeout=20) == 143


@pytest.mark.parametrize(("name", "is_killed"), [("a-2.run", True), ("a-2.other", False)])
def test_what_an_earlier_attempt_left_is_killed_before_the_next_and_other_runs_are_not(
    place: Path, name: str, is_killed: bool
) -> None:
    subprocess.run([place / "launch", "ends", "0"], check=True)
    task = int((place / "TASK").read_text())
    process = subprocess.run(
        [sys.executable, "-m", "runner.slurm.step", name, "--", "true"], env=environment(), check=True
    )
    assert process.returncode == 0
    assert calls(place) == (["--signal=KILL 7.0"] if is_killed else [])
    assert (start_ticks(task) is None) == is_killed


def test_outside_of_a_job_it_is_told_what_to_do(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID")
    process = watch(place, "ends", "0")
    assert (process.wait(timeout=20), calls(place)) == (2, [])
    told = (place / "stderr").read_text()
    assert told == "no SLURM_JOB_ID; run it inside of a job of Slurm, such as salloc starts\n"


def test_a_slurm_that_does_not_answer_keeps_nothing_from_running(place: Path) -> None:
    (place / "squeue").write_text("#!/bin/bash\necho 'Unable to contact' >&2; exit 1\n")
    process = watch(place, "ends", "3")
    assert process.wait(timeout=20) == 3
    told = (place / "stderr").read_text()
    assert "squeue does not answer: Unable to contact; look for steps left in job 7" in told
