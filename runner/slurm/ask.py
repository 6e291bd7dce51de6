"""What Slurm says of jobs, steps and partitions, and what it is told: submit, cancel, kill, queue again.

Each answer is understood by a pure function; what cannot be asked raises SlurmError with Slurm's own words.
"""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onerec.errors import OneRecError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

ANSWER_SECONDS = 120
POLL_SECONDS = 0.2
_UNKNOWN_JOB = "Invalid job id"


class SlurmError(OneRecError):
    """Slurm did not answer, or refused."""


@dataclass(frozen=True)
class Partition:
    """One partition as sinfo tells it; its hosts may be of several kinds."""

    name: str
    is_up: bool
    time_limit: str
    nodes: int
    gpus: int
    """Most GPUs of one host."""


def job_state(job: str) -> str | None:
    """State of a job, such as PENDING or RUNNING; None for one that is over or forgotten."""
    code, told, complaint = _asked(["squeue", "--noheader", f"--jobs={job}", "--format=%T"])
    if code and _UNKNOWN_JOB not in complaint:
        raise SlurmError(f"squeue does not answer: {complaint}; ask again when Slurm is well")
    return told.split()[0] if told.split() else None


def submit(folder: Path, script: str, *, env: Mapping[str, str]) -> str:
    """Hand in a script of `folder`, from there; returns the id of the job."""
    code, told, complaint = _asked(["sbatch", "--parsable", script], folder=folder, env=env)
    job = parse_job(told)
    if code or job is None:
        raise SlurmError(f"sbatch refused the job: {complaint or told}; correct [cluster.slurm]")
    return job


def requeue(job: str) -> None:
    """Queue a running job again; it ends, and starts anew with the same script when there is room."""
    code, told, complaint = _asked(["scontrol", "requeue", job])
    if code:
        raise SlurmError(f"job {job} cannot be queued again: {complaint or told}; submit the run again")


def cancel(job: str) -> None:
    """Cancel a job."""
    code, told, complaint = _asked(["scancel", job])
    if code:
        raise SlurmError(f"job {job} cannot be cancelled: {complaint or told}; see squeue --jobs={job}")


def kill_steps(job: str, *, named: Callable[[str], bool], within_seconds: float) -> bool:
    """Kill the steps of a job whose names fit, on all hosts; whether none is left after so long."""
    deadline = time.monotonic() + within_seconds
    while left := [step for step, name in _steps(job) if named(name)]:
        if time.monotonic() > deadline:
            return False
        _asked(["scancel", "--signal=KILL", *left])
        time.sleep(POLL_SECONDS)
    return True


def partitions() -> tuple[Partition, ...]:
    """Every partition that a job may be submitted to."""
    code, told, complaint = _asked(["sinfo", "--noheader", "--format=%R|%a|%l|%D|%G"])
    if code:
        raise SlurmError(f"sinfo does not answer: {complaint}; ask again when Slurm is well")
    return parse_partitions(told)


def addresses(nodes: str) -> tuple[str, ...]:
    """Addresses of hosts, named as Slurm lists them ("node[1-2]"), in their order; none without an answer."""
    argv = ["sinfo", "--noheader", "--Node", f"--nodes={nodes}", "--format=%N|%o"]
    try:
        return parse_addresses(_asked(argv)[1])
    except SlurmError:
        return ()


def version() -> tuple[int, int] | None:
    """Year and month of the Slurm that is installed; None for what cannot be understood."""
    return parse_version(_asked(["sbatch", "--version"])[1])


def parse_job(told: str) -> str | None:
    """Job id of what `sbatch --parsable` prints, "12" or "12;cluster"."""
    found = re.fullmatch(r"([0-9]+)(;.*)?", told.strip())
    return found[1] if found else None


def parse_version(told: str) -> tuple[int, int] | None:
    """(22, 5) for "slurm-wlm 22.05.8"."""
    found = re.search(r"slurm\S* ([0-9]+)\.([0-9]+)", told)
    return (int(found[1]), int(found[2])) if found else None


def parse_steps(told: str) -> list[tuple[str, str]]:
    """Id and name of each step of `squeue --steps --format=%i|%j`."""
    return [(step, name) for step, _, name in (line.partition("|") for line in told.splitlines()) if name]


def parse_addresses(told: str) -> tuple[str, ...]:
    """Address of each host of `sinfo --Node --format=%N|%o`, which has a line for each of its partitions."""
    pairs = (line.strip().partition("|") for line in told.splitlines())
    return tuple({name: address for name, _, address in pairs if address}.values())


def parse_partitions(told: str) -> tuple[Partition, ...]:
    """The partitions of `sinfo --format=%R|%a|%l|%D|%G`: a line for each kind of host, taken together."""
    found: dict[str, Partition] = {}
    for line in told.splitlines():
        name, state, limit, nodes, gres = (*line.strip().split("|"), "", "", "", "")[:5]
        before = found.get(name, Partition(name, False, limit, 0, 0))
        count = before.nodes + (int(nodes) if nodes.isdecimal() else 0)
        found[name] = Partition(name, state == "up", limit, count, max(before.gpus, _gpus(gres)))
    return tuple(found.values())


def _gpus(gres: str) -> int:
    """GPUs of "gpu:a100:8(S:0-1),gpu:v100:2": 10."""
    return sum(int(number) for number in re.findall(r"(?:^|,)gpu(?::[^:,()]+)?:([0-9]+)", gres))


def _steps(job: str) -> list[tuple[str, str]]:
    code, told, complaint = _asked(["squeue", "--steps", "--noheader", f"--jobs={job}", "--format=%i|%j"])
    if code and _UNKNOWN_JOB not in complaint:
        raise SlurmError(f"squeue does not answer: {complaint}; look for steps left in job {job}")
    return parse_steps(told)


def _asked(
    argv: Sequence[str], *, folder: Path | None = None, env: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Exit code, output and complaints of a program of Slurm."""
    try:
        done = subprocess.run(
            argv, cwd=folder, env=env, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except FileNotFoundError as fault:
        remedy = "start it on a host where jobs are submitted"
        raise SlurmError(f"{argv[0]} is not on the PATH; {remedy}") from fault
    except subprocess.TimeoutExpired:
        return 1, "", f"no answer within {ANSWER_SECONDS} s"
    return done.returncode, done.stdout, " ".join(done.stderr.split())
