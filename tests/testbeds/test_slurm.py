"""Runs under a real Slurm of two nodes: `python -m pytest -m integration tests/testbeds/test_slurm.py`.

Debian's slurmctld, slurmd, slurm-client and munge; 11 minutes on two cores.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.journal import read
from runner.rundir import RunDir
from tests.doctor import assert_healthy
from tests.runner.programme import wait_until
from tests.testbeds.conftest import need
from tests.testbeds.slurm.minislurm import find

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
MANIFEST = """
name = "tiny"
seed = 7

[model]
base_model_dir = "{base}"

[vocab]
itemic_layer_n = 3
vocab_size_per_layer = 8
alignment = 16

[cluster]
env = {{ OMP_NUM_THREADS = "1" }}
{cluster}

[datasets.mixed]
sources = "{rows}"
max_length = 128
num_epochs = 2
num_workers = 1
num_processes = 1

[training]
enable_gradient_checkpointing = false
logging_per_step = 1
save_checkpoint_per_step = 4
packs_per_step = 2
num_warmup_steps = 2

[stages.expand]
kind = "expand_vocab"

[stages.sft]
kind = "train"
dataset = "mixed"
learning_rate = 5e-3
"""
SLURM = """\
launcher = "slurm"
nnodes = 2
nproc_per_node = 1
stop_grace_seconds = 30
slurm = { partition = "train", time = "30:00", mem = "500M", options = ["--comment=test"] }
"""
TORCHRUN = 'launcher = "torchrun"\nnproc_per_node = 2\n'
KILLED_SECONDS = 10


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A Slurm that every program finds; it ends with this process, too."""
    need("sbatch", "srun", "squeue", packages="slurmctld slurmd slurm-client munge")
    if missing := [name for name in ("slurmctld", "slurmd", "munged") if find(name) is None]:
        pytest.skip(f"needs {', '.join(missing)}; Debian packages: slurmctld slurmd munge")
    home = tmp_path_factory.mktemp("slurm") / "home"
    daemons = subprocess.Popen(
        [sys.executable, ROOT / "tests/testbeds/slurm/minislurm.py", "run", home],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert daemons.stdout
    told = daemons.stdout.readline()
    if told != "ready\n":
        pytest.skip(f"Slurm does not start: {told}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(home / "slurm.conf"))
        yield home
    daemons.terminate()
    daemons.communicate(timeout=30)


@pytest.fixture
def place(slurm, tmp_path):
    """A folder to run in; no job is left behind."""
    yield tmp_path
    subprocess.run(["scancel", "--full", "--user", str(os.getuid())], check=True)
    wait_until(lambda: not jobs(), seconds=60)


def write_manifest(folder, programme, cluster=SLURM):
    path = folder / "tiny.toml"
    path.write_text(
        MANIFEST.format(base=programme / "base" / "model", rows=programme / "data", cluster=cluster)
    )
    return path


def runner(folder, *arguments, expect=0):
    """Run a verb in `folder`, outside of any job."""
    done = subprocess.run(
        [sys.executable, "-m", "runner", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def submit(folder, *arguments):
    """Submit the manifest of a folder; returns the id of the job."""
    told = runner(folder, "tiny.toml", *arguments).stdout
    return re.search(r"submitted as job ([0-9]+) of Slurm", told)[1]


def jobs():
    """State of every job in the queue."""
    told = subprocess.run(
        ["squeue", "--noheader", "--format=%i %T"], capture_output=True, text=True, check=True
    )
    return dict(line.split() for line in told.stdout.splitlines())


def control(*arguments, check=True):
    """Tell Slurm something as its administrator."""
    subprocess.run(["scontrol", *arguments], check=check)


def wait_for_end(folder, job, *, state="done"):
    wait_until(lambda: job not in jobs(), seconds=240)
    status = json.loads(runner(folder, "status", "--json").stdout)
    assert status["state"] == state, log(folder)
    return status


def wait_for_step(folder, step):
    wait_until(lambda: any(row["step"] >= step for row in rows(folder)), seconds=120)


def log(folder):
    return (folder / "runs/tiny/slurm.log").read_text()


def rows(folder):
    path = folder / "runs/tiny/sft/metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def curve(folder):
    return [(row["step"], row["loss"], row["grad_norm"]) for row in rows(folder)]


def bits(folder):
    """Digests of the tensors of the last checkpoint."""
    sft = folder / "runs/tiny/sft"
    record = json.loads((sft / (sft / "latest").read_text().strip() / "COMMIT.json").read_text())
    return {name: digest for name, digest in record["sha256"].items() if name.endswith(".distcp")}


def events(folder, kind):
    return [event for event in read(RunDir(folder / "runs/tiny").events) if event["event"] == kind]


def processes_of(folder):
    """Command lines of live processes with the run's folder in them, or in their environment."""
    others = [entry for entry in Path("/proc").glob("[0-9]*") if int(entry.name) != os.getpid()]
    told = {entry: (words(entry, "cmdline"), words(entry, "environ")) for entry in others}
    mark = str(folder / "runs").encode()
    return [line for line, env in told.values() if any(mark in word for word in line + env)]


def words(entry, name):
    """What a file of /proc lists; nothing for a process that is gone."""
    try:
        return (entry / name).read_bytes().split(b"\0")
    except OSError:
        return []


def assert_nothing_left(folder):
    """Data workers and such need a moment after the last rank."""
    deadline = time.monotonic() + KILLED_SECONDS
    while left := processes_of(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def batch_runner(folder):
    """Pid of the runner in the job."""
    return json.loads((folder / "runs/tiny/lock").read_text())["pid"]


@pytest.fixture(scope="module")
def undisturbed(tiny_programme, tmp_path_factory):
    """The same two ranks under torchrun, which nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_manifest(folder, tiny_programme, TORCHRUN)
    runner(folder, "tiny.toml")
    return folder


def assert_as_if_undisturbed(folder, undisturbed):
    assert_healthy(folder / "runs/tiny")
    assert curve(folder) == curve(undisturbed)
    assert bits(folder) == bits(undisturbed)


def test_a_programme_submitted_from_outside_ends_with_the_bits_of_any_launcher(
    place, tiny_programme, undisturbed
):
    write_manifest(place, tiny_programme)
    plan = json.loads(runner(place, "plan", "tiny.toml", "--json").stdout)
    job = submit(place)
    assert (place / "runs/tiny/sbatch.sh").read_text() == plan["job_script"]
    wait_for_end(place, job)
    assert_as_if_undisturbed(place, undisturbed)
    hosts = {event["step"]: len(event["argv"]) for event in events(place, "step_started")}
    assert hosts["sft"] == 1
    record = sorted((place / "runs/tiny/sft/logs/attempt-1").glob("rank-?????.json"))
    assert len(record) == 2
    assert "nothing was submitted" in runner(place, "tiny.toml").stdout
    assert len(events(place, "submitted")) == 1


def test_a_job_that_is_told_to_stop_saves_and_is_queued_again_until_the_run_is_done(
    place, tiny_programme, undisturbed
):
    write_manifest(place, tiny_programme)
    job = submit(place)
    wait_for_step(place, 2)
    subprocess.run(["scancel", "--signal=USR2", "--batch", job], check=True)
    wait_until(lambda: events(place, "requeued"), seconds=60)
    assert [event["exit_code"] for event in events(place, "run_ended")] == [75]
    saved = int((place / "runs/tiny/sft/latest").read_text().strip().removeprefix("step"))
    assert events(place, "requeued")[0]["reached"] == f"2 steps done, sft at step{saved}"
    waiting = runner(place, "status").stdout
    assert f"queued as job {job} of Slurm" in waiting
    assert "run tiny: pending" in waiting
    wait_for_end(place, job)
    assert f"continue from step {saved}" in log(place) or f"step {saved}" in log(place)
    assert len(events(place, "submitted")) == 1
    assert_as_if_undisturbed(place, undisturbed)


def test_a_real_time_limit_only_interrupts_the_run(place, tiny_programme, undisturbed):
    """Slurm looks about every 30 s, and tells of the end up to a minute early: somewhere in these steps."""
    write_manifest(place, tiny_programme)
    job = submit(place)
    control("update", f"JobId={job}", "TimeLimit=1")
    wait_until(lambda: events(place, "requeued"), seconds=90)
    control("update", f"JobId={job}", "TimeLimit=30")
    wait_for_end(place, job)
    assert_as_if_undisturbed(place, undisturbed)


def test_a_job_that_must_make_room_saves_and_comes_back(place, tiny_programme, undisturbed):
    write_manifest(place, tiny_programme)
    job = submit(place)
    wait_for_step(place, 2)
    urgent = ["sbatch", "--parsable", "--partition=urgent", "--nodes=2", "--exclusive", "--wrap=sleep 3"]
    subprocess.run(urgent, cwd=place, check=True, capture_output=True)
    wait_until(lambda: jobs().get(job) == "PENDING", seconds=60)
    assert [event["exit_code"] for event in events(place, "run_ended")] == [75]
    wait_for_end(place, job)
    assert_as_if_undisturbed(place, undisturbed)


def test_a_host_that_is_lost_costs_the_steps_since_the_last_checkpoint(place, tiny_programme, undisturbed):
    write_manifest(place, tiny_programme)
    job = submit(place)
    wait_for_step(place, 5)
    try:
        control("update", "NodeName=node2", "State=DOWN", "Reason=test")
        wait_until(lambda: jobs().get(job) == "PENDING", seconds=60)
    finally:
        control("update", "NodeName=node2", "State=RESUME", check=False)  # it may have come back itself
    wait_for_end(place, job)
    assert (len(events(place, "submitted")), len(events(place, "run_started"))) == (1, 2)
    assert_as_if_undisturbed(place, undisturbed)


def test_inside_of_a_job_the_run_is_done_right_there(place, tiny_programme, undisturbed):
    write_manifest(place, tiny_programme)
    done = subprocess.run(
        ["salloc", "--nodes=2", "--ntasks-per-node=1", sys.executable, "-m", "runner", "tiny.toml"],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert events(place, "submitted") == []
    assert_as_if_undisturbed(place, undisturbed)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("cluster.slurm.partition=trian", "Slurm has no partition 'trian'; did you mean 'train'?"),
        ("cluster.nnodes=3", "3 hosts are more than the 2 of partition train"),
        ("cluster.slurm.time=2:00:00", 'write "1:00:00": the run goes on in the next job'),
        ("cluster.slurm.gpus_per_node=1", "1 GPUs are more than the 0 that hosts of partition train have"),
    ],
)
def test_what_slurm_does_not_have_is_told_before(place, tiny_programme, setting, told):
    write_manifest(place, tiny_programme)
    code = 3 if "partition=" in setting else 0
    assert told in runner(place, "check", "--fast", "tiny.toml", "--set", setting, expect=code).stdout


def test_runner_stop_saves_and_the_job_does_not_come_back(place, tiny_programme, undisturbed):
    write_manifest(place, tiny_programme)
    job = submit(place)
    wait_for_step(place, 2)
    assert "runner resume" in runner(place, "stop").stdout
    wait_for_end(place, job, state="interrupted")
    assert f"stopped by runner stop: job {job} is not queued again" in log(place)
    assert events(place, "requeued") == []
    assert_nothing_left(place)
    again = re.search(r"job ([0-9]+)", runner(place, "resume").stdout)[1]
    assert again != job
    wait_for_end(place, again)
    assert_as_if_undisturbed(place, undisturbed)


def test_a_cancelled_job_saves_and_does_not_come_back(place, tiny_programme, undisturbed):
    write_manifest(place, tiny_programme)
    job = submit(place)
    wait_for_step(place, 5)
    subprocess.run(["scancel", job], check=True)
    wait_for_end(place, job, state="interrupted")
    assert events(place, "requeued") == []
    assert_nothing_left(place)
    saved = int((place / "runs/tiny/sft/latest").read_text().strip().removeprefix("step"))
    assert saved >= max(row["step"] for row in rows(place)) >= 5
    assert_healthy(place / "runs/tiny")
    wait_for_end(place, submit(place))
    assert_as_if_undisturbed(place, undisturbed)


def test_after_kill_9_of_the_runner_in_the_job_nothing_is_left_and_the_same_command_goes_on(
    place, tiny_programme, undisturbed
):
    write_manifest(place, tiny_programme)
    job = submit(place)
    wait_for_step(place, 2)
    os.kill(batch_runner(place), signal.SIGKILL)
    assert_nothing_left(place)
    wait_for_end(place, job, state="interrupted")
    assert events(place, "requeued") == []
    wait_for_end(place, submit(place))
    assert_as_if_undisturbed(place, undisturbed)


def test_a_second_start_does_not_submit_a_second_job(place, tiny_programme):
    write_manifest(place, tiny_programme, SLURM.replace('"train"', '"closed"').replace("30:00", "5:00"))
    runner(place, "tiny.toml", "--set", "cluster.nnodes=1")
    (job,) = jobs()
    assert jobs() == {job: "PENDING"}
    told = runner(place, "tiny.toml", "--set", "cluster.nnodes=1", expect=5).stderr
    assert f"is in use: job {job} of Slurm is PENDING" in told
    assert f"queued as job {job} of Slurm" in runner(place, "status").stdout
    assert_healthy(place / "runs/tiny")
    assert f"job {job} had not begun, and is cancelled" in runner(place, "stop").stdout
    assert jobs() == {}
    assert "nothing runs" in runner(place, "stop").stdout


def test_no_task_outlives_an_srun_that_was_killed(place):
    """As the runner is in a shell of a job: no batch script ends with it, and so no job."""
    (place / "job.sh").write_text("#!/bin/bash\nexec sleep 300\n")
    told = subprocess.run(
        ["sbatch", "--parsable", "--nodes=2", "--ntasks-per-node=1", "job.sh"],
        cwd=place,
        capture_output=True,
        text=True,
        check=True,
    )
    job = told.stdout.strip()
    wait_until(lambda: jobs().get(job) == "RUNNING")
    mark = place / "runs"
    argv = ["srun", "--job-name=a.run", "--overlap", "--cpu-bind=none", "--input=none"]
    argv += ["bash", "-c", f"exec -a {mark} sleep 200"]
    step = shlex.join([sys.executable, "-m", "runner.slurm.step", "a.run", "--", *argv])
    for victim in ("srun", "parent"):
        parent = subprocess.Popen(
            ["bash", "-c", f"{step}; true"],
            env={**os.environ, "SLURM_JOB_ID": job, "PYTHONPATH": str(ROOT)},
        )
        wait_until(lambda: sleeping(mark) == 2)
        os.kill(parent.pid if victim == "parent" else srun_below(parent.pid), signal.SIGKILL)
        wait_until(lambda: not sleeping(mark), seconds=KILLED_SECONDS)
        parent.wait(timeout=20)


def sleeping(mark):
    """How many tasks there are, which have the mark as their name."""
    names = [words(entry, "cmdline")[:1] for entry in Path("/proc").glob("[0-9]*")]
    return names.count([str(mark).encode()])


def srun_below(pid):
    """The srun that a process started, over others."""
    below = [pid]
    for parent in below:
        for entry in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            if Path(f"/proc/{entry}/comm").read_text() == "srun\n":
                return int(entry)
            below.append(int(entry))
    raise AssertionError("no srun")
