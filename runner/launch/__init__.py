"""Turn one planned step into the exact commands that run it: here, under torchrun, or under mpirun.

Nothing here starts a process or touches a disk: the same step, cluster and tools give the same commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onerec.errors import ConfigError
from runner.launch.environment import rank_env
from runner.launch.mpirun import mpirun
from runner.launch.ranks import hosts_used, is_here, is_launched, ranks_on_host
from runner.launch.torchrun import torchrun_here, torchrun_on
from runner.launch.values import Command, Start
from runner.rundir import StepDir

if TYPE_CHECKING:
    from runner.launch.values import Attempt, Toolchain
    from runner.manifest.tables import Cluster
    from runner.steps import Step


def launch(
    step: Step, *, run: Path, cluster: Cluster, tools: Toolchain, attempt: Attempt
) -> tuple[Command, ...]:
    """The commands that together are one attempt at a step; all of them start at once.

    Raises ConfigError for a launcher that is not there and for more hosts than the hostfile has.
    """
    start = _start(step, run=run, cluster=cluster, tools=tools, attempt=attempt)
    if not is_launched(step, cluster, tools):
        return (Command(argv=(tools.python, "-m", *start.module), env=start.env),)
    if cluster.launcher == "torchrun":
        hosts = hosts_used(cluster, tools)
        if [host for host in hosts if not is_here(host, tools)]:
            return tuple(torchrun_on(host, start, hosts=hosts) for host in hosts)
        return (torchrun_here(start),)
    if cluster.launcher == "mpirun":
        return (mpirun(start),)
    raise ConfigError(f"cluster.launcher {cluster.launcher!r} cannot be started yet; use torchrun or mpirun")


def _start(step: Step, *, run: Path, cluster: Cluster, tools: Toolchain, attempt: Attempt) -> Start:
    home = StepDir(Path(step.folder))
    ranks = ranks_on_host(step, cluster, tools)
    env = rank_env(home, run=run, cluster=cluster, tools=tools, attempt=attempt, ranks=ranks)
    log_dir = str(home.logs(attempt.number))
    module = ("runner.rank", "--log-dir", log_dir, "--", "-m", "onerec", str(home.config))
    return Start(cluster, tools, attempt, str(home.launcher_logs(attempt.number)), module, env, ranks)
