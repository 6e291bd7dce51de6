"""The script of a job: what it asks of Slurm, and the runner, which goes on with the run in it. Pure.

Values were checked by runner.manifest.rules_slurm: none can end its line, which is a comment to bash.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from runner.slurm.limits import tasks_per_node, warning_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.launch.values import Toolchain
    from runner.manifest.tables import Cluster
    from runner.rundir import RunDir

REQUEUE = "--requeue"
"""The option of `runner resume` that says that the job may be queued again."""
_BY_ANOTHER_NAME = {"time": "SBATCH_TIMELIMIT", "mem": "SBATCH_MEM_PER_NODE"}
_NEVER = frozenset(
    {"SBATCH_ARRAY_INX", "SBATCH_EXPORT", "SBATCH_NO_REQUEUE", "SBATCH_WAIT", "SBATCH_WAIT_ALL_NODES"}
)
"""What would make another job of it."""


def job_script(cluster: Cluster, *, run: RunDir, tools: Toolchain) -> str:
    """sbatch.sh: submitted from the run directory, so that no path stands in a line for Slurm."""
    lines = [
        "#!/bin/bash",
        f"# Run {run.name} as a job of Slurm. The runner submits it; by hand, "
        f"from this folder: sbatch {run.job_script.name}",
        *(f"#SBATCH {option}" for option in job_options(cluster, run=run)),
        f"cd {shlex.quote(tools.work_dir)} || exit 2",
        *(f"export {name}={shlex.quote(value)}" for name, value in sorted(tools.passed_on.items())),
        "# in place of this shell, so that Slurm's signals reach it; what it ends with, the job ends with",
        f"exec {shlex.join([tools.python, '-m', 'runner', 'resume', str(run.path), REQUEUE])}",
    ]
    return "\n".join([*lines, ""])


def job_options(cluster: Cluster, *, run: RunDir) -> tuple[str, ...]:
    """The options of sbatch, in the order in which they stand in the script."""
    slurm = cluster.slurm
    given = {
        "job-name": run.name,
        "nodes": cluster.node_range[1],
        "ntasks-per-node": tasks_per_node(cluster),
        "partition": slurm.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "time": slurm.time,
        "gpus-per-node": slurm.gpus_per_node,
        "cpus-per-task": slurm.cpus_per_task,
        "mem": slurm.mem,
        "constraint": slurm.constraint,
        "reservation": slurm.reservation,
        "output": run.job_log.name,
        "open-mode": "append",
        "signal": f"B:USR2@{warning_seconds(cluster.stop_grace_seconds)}",
    }
    return (
        *(f"--{name}={value}" for name, value in given.items() if value is not None),
        *(("--exclusive",) if slurm.exclusive else ()),
        "--requeue",
        *slurm.options,
    )


def submission_env(env: Mapping[str, str], options: tuple[str, ...]) -> dict[str, str]:
    """The caller's environment for sbatch, without variables that go before what the script says."""
    names = [option.removeprefix("--").partition("=")[0] for option in options]
    taken = {_BY_ANOTHER_NAME.get(name, f"SBATCH_{name.upper().replace('-', '_')}") for name in names}
    return {name: value for name, value in env.items() if name not in taken | _NEVER}
