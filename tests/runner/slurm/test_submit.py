"""A run from its submission to its end, with stand-ins for the programs of Slurm and for the trainer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from runner.journal import read
from runner.lock import hold
from runner.rundir import RunDir
from tests.doctor import assert_healthy
from tests.runner.programme import environment, runner, states, wait_until, write_manifest

PROGRAMS = {
    "sbatch": (
        '[ "$1" = --version ] && exec echo "slurm 22.05.8"\n'
        'echo "$PWD: sbatch $*" >> CALLS; echo PENDING > STATE; echo "7;cluster"'
    ),
    "squeue": ('[[ " $* " = *" --steps "* ]] && exit 0\ncat STATE || { echo Invalid job id >&2; exit 1; }'),
    "scancel": 'echo "scancel $*" >> CALLS; rm STATE',
    "scontrol": 'echo "scontrol $*" >> CALLS; echo PENDING > STATE',
    "sinfo": 'echo "train|up|infinite|2|(null)"',
    "srun": 'while [ "${1:0:2}" = -- ]; do shift; done; exec "$@"',
}
"""What answers instead of Slurm; the state of the one job is a file."""


class Slurm:
    """Stand-ins in a folder, which goes before the PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name, text in PROGRAMS.items():
            path = folder / name
            told = text.replace("CALLS", str(folder / "calls")).replace("STATE", str(folder / "state"))
            path.write_text(f"#!/bin/bash\n{told}\n")
            path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def start(self, run: RunDir) -> subprocess.Popen[str]:
        """Start the script of the job, as Slurm would."""
        (self.folder / "state").write_text("RUNNING\n")
        path = f"{self.folder}:{os.environ['PATH']}"
        return subprocess.Popen(
            ["bash", run.job_script],
            cwd=run.path,
            env={**environment(), "PATH": path, "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def kinds(run: RunDir) -> list[object]:
    return [event["event"] for event in read(run.events) if "step_" not in str(event["event"])]


def test_a_run_is_submitted_once_and_can_be_seen_and_stopped_while_it_waits(tmp_path: Path) -> None:
    slurm, run = Slurm(tmp_path / "bin"), RunDir((tmp_path / "runs/small").resolve())
    call = [write_manifest(tmp_path), "--set", "cluster.launcher=slurm"]
    plan = runner(tmp_path, "plan", *call, "--json", path=str(slurm.folder))
    told = runner(tmp_path, *call, "--rerun", "second", path=str(slurm.folder))
    assert run.job_script.read_text() == json.loads(plan.stdout)["job_script"]
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith(f"run small in {run.path}: submitted as job 7 of Slurm\n")
    assert slurm.calls == [f"{run.path}: sbatch --parsable sbatch.sh"]
    (submitted,) = read(run.events)
    assert (submitted["job"], submitted["rerun"], submitted["overrides"]) == (
        *("7", ["second"]),
        ["cluster.launcher=slurm"],
    )

    again = runner(tmp_path, *call, path=str(slurm.folder))
    assert (again.returncode, again.stdout) == (5, "")
    assert f"{run.path} is in use: job 7 of Slurm is PENDING; see runner status" in again.stderr
    status = json.loads(runner(tmp_path, "status", "--json").stdout)
    assert (status["state"], {stage["state"] for stage in status["stages"]}) == ("pending", {"pending"})
    assert status["stages"][0]["reason"] == "queued as job 7 of Slurm; squeue --jobs=7 shows its turn"
    assert_healthy(run.path, without_warnings=True)

    stopped = runner(tmp_path, "stop", path=str(slurm.folder))
    assert "job 7 had not begun, and is cancelled; go on with: runner resume" in stopped.stdout
    assert slurm.calls[1:] == ["scancel 7"]
    assert "nothing runs" in runner(tmp_path, "stop", path=str(slurm.folder)).stdout
    resumed = runner(tmp_path, "resume", path=str(slurm.folder))
    assert "submitted as job 7 of Slurm" in resumed.stdout
    assert read(run.events)[-1]["rerun"] == ["second"]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Slurm, RunDir, str]:
    """A job whose first training stage Slurm told to stop, and what it wrote."""
    folder = tmp_path_factory.mktemp("interrupted")
    slurm, run = Slurm(folder / "bin"), RunDir((folder / "runs/small").resolve())
    manifest = write_manifest(folder, {"first": {"wait": True, "attempts": [1, 3]}})
    runner(folder, manifest, "--set", "cluster.launcher=slurm", path=str(slurm.folder))
    return folder, slurm, run, tell_to_stop(slurm, run, attempt=1)


def tell_to_stop(slurm: Slurm, run: RunDir, *, attempt: int) -> str:
    job = slurm.start(run)
    wait_until((run.stage("first").logs(attempt) / "rank-00000.pid.json").exists)
    job.send_signal(signal.SIGUSR2)
    told = job.communicate(timeout=30)[0]
    assert job.returncode == 75, told
    return told


def test_a_job_that_slurm_stops_queues_itself_again_and_goes_on_to_the_end(
    interrupted: tuple[Path, Slurm, RunDir, str],
) -> None:
    folder, slurm, run, told = interrupted
    assert "job 7 is queued again, and goes on from 4 steps done, first at step" in told
    assert slurm.calls[1:] == ["scontrol requeue 7"]
    assert kinds(run) == ["submitted", "run_started", "run_ended", "requeued"]
    assert states(folder)["first"] == "interrupted"
    assert_healthy(run.path, without_warnings=True)

    job = slurm.start(run)
    assert (job.communicate(timeout=60)[0].count("started"), job.returncode) == (5, 0)
    assert slurm.calls[2:] == []
    assert kinds(run)[4:] == ["run_started", "run_ended"]
    assert set(states(folder).values()) == {"done"}
    assert_healthy(run.path, without_warnings=True)
    (slurm.folder / "state").unlink()
    again = runner(folder, "small.toml", "--set", "cluster.launcher=slurm", path=str(slurm.folder))
    assert again.stdout == f"run small in {run.path}: all is done, nothing was submitted\n"


def test_what_is_to_run_again_does_so_once_and_not_in_every_job(
    interrupted: tuple[Path, Slurm, RunDir, str],
) -> None:
    folder, slurm, run, _ = interrupted
    call = ["small.toml", "--set", "cluster.launcher=slurm", "--rerun", "first"]
    assert runner(folder, *call, path=str(slurm.folder)).returncode == 0
    tell_to_stop(slurm, run, attempt=3)
    assert slurm.calls[-1] == "scontrol requeue 7"
    job = slurm.start(run)
    told = job.communicate(timeout=60)[0]
    assert job.returncode == 0, told
    assert len([event for event in read(run.events) if event["event"] == "steps_invalidated"]) == 1
    assert_healthy(run.path)


def test_a_person_who_stops_a_job_does_not_get_it_back(tmp_path: Path) -> None:
    slurm, run = Slurm(tmp_path / "bin"), RunDir((tmp_path / "runs/small").resolve())
    manifest = write_manifest(tmp_path, {"first": {"wait": True}})
    runner(tmp_path, manifest, "--set", "cluster.launcher=slurm", path=str(slurm.folder))
    job = slurm.start(run)
    wait_until((run.stage("first").path / "waiting").exists)
    assert "stopped; go on with" in runner(tmp_path, "stop", path=str(slurm.folder)).stdout
    told = job.communicate(timeout=30)[0]
    assert (job.returncode, slurm.calls[1:]) == (75, []), told
    assert "stopped by runner stop: job 7 is not queued again" in told
    assert "requeued" not in kinds(run)


def test_a_job_waits_for_whoever_still_writes_its_submission_down(tmp_path: Path) -> None:
    slurm, run = Slurm(tmp_path / "bin"), RunDir((tmp_path / "runs/small").resolve())
    call = [write_manifest(tmp_path), "--set", "cluster.launcher=slurm"]
    runner(tmp_path, *call, path=str(slurm.folder))
    with hold(run.lock):
        job = slurm.start(run)
        with pytest.raises(subprocess.TimeoutExpired):
            job.communicate(timeout=1)
    told = job.communicate(timeout=60)[0]
    assert (job.returncode, set(states(tmp_path).values())) == (0, {"done"}), told


def test_what_slurm_refuses_leaves_nothing_that_waits(tmp_path: Path) -> None:
    slurm = Slurm(tmp_path / "bin")
    (slurm.folder / "sbatch").write_text("#!/bin/bash\necho 'invalid account' >&2; exit 1\n")
    told = runner(
        tmp_path, write_manifest(tmp_path), "--set", "cluster.launcher=slurm", path=str(slurm.folder)
    )
    assert (told.returncode, told.stdout) == (1, "")
    assert "error: sbatch refused the job: invalid account; correct [cluster.slurm]" in told.stderr
    assert read(RunDir(tmp_path / "runs/small").events) == ()
