"""The command of srun, which starts the ranks of all hosts of a job: one step of it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from onerec.errors import ConfigError
from runner.launch.ranks import node_range
from runner.launch.values import Command

if TYPE_CHECKING:
    from runner.launch.values import Start


def srun(start: Start) -> Command:
    """srun on all hosts of the job, as many tasks on each; raises ConfigError where there is no srun."""
    tools, slurm, ranks = start.tools, start.cluster.slurm, start.local_ranks
    if tools.srun is None:
        raise ConfigError(
            "cluster.launcher is slurm, but srun is not on the PATH; start it where jobs are submitted"
        )
    nodes, _ = node_range(start.cluster, tools)
    name = step_name(start.attempt.nonce, run=start.env["RUNNER_RUN"])
    argv = (
        *(tools.python, "-m", "runner.slurm.step", name, "--"),  # leaves no task behind, where srun may
        tools.srun,
        f"--job-name={name}",
        *(f"--nodes={nodes}", f"--ntasks={nodes * ranks}", f"--ntasks-per-node={ranks}"),
        *(() if slurm.cpus_per_task is None else (f"--cpus-per-task={slurm.cpus_per_task}",)),
        "--distribution=block",  # the ranks of a host are neighbours, as under torchrun
        "--cpu-bind=none",  # the default may give each rank one core
        "--mpi=none",
        "--overlap",  # else it would wait for a step that is still ending, or for a shell in the job
        "--input=none",
        "--export=ALL",
        "--kill-on-bad-exit=1",
        "--wait=0",  # a host that ends early is no reason to end the others
        *(tools.python, "-m", *start.module),
    )
    return Command(argv=argv, env=start.env)


def step_name(nonce: str, *, run: str) -> str:
    """Name of an attempt's step, by which it can be found in its job; all of a run end alike."""
    return f"{nonce}{name_ending(run)}"


def name_ending(run: str) -> str:
    """What the names of all steps of a run directory end with."""
    return f".{hashlib.sha256(run.encode()).hexdigest()[:12]}"
