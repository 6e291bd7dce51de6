"""Turn one planned step into the exact commands that run it: here, or under torchrun, mpirun or srun.

Nothing here starts a process or touches a disk: the same step, cluster and tools give the same commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runner.launch.environment import rank_env
from runner.launch.mpirun import mpirun
from runner.launch.ranks import address_of, hosts_used, is_launched, ranks_on_host
from runner.launch.slurm import srun
from runner.launch.torchrun import torchrun
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
        return torchrun(start)
    if cluster.launcher == "mpirun":
        return (mpirun(start),)
    return (srun(start),)


def _start(step: Step, *, run: Path, cluster: Cluster, tools: Toolchain, attempt: Attempt) -> Start:
    home = StepDir(Path(step.folder))
    ranks = ranks_on_host(step, cluster, tools)
    is_spread = cluster.launcher in ("torchrun", "mpirun") and is_launched(step, cluster, tools)
    hosts = hosts_used(cluster, tools) if is_spread else ()
    peers = [address_of(host, tools) for host in hosts[:2]] if len(hosts) > 1 else []
    if cluster.launcher == "slurm" and is_launched(step, cluster, tools):
        peers = list(tools.slurm_peers)
    env = rank_env(home, run=run, cluster=cluster, tools=tools, attempt=attempt, ranks=ranks, peers=peers)
    log_dir = str(home.logs(attempt.number))
    module = ("runner.rank", "--log-dir", log_dir, "--", "-m", "onerec", str(home.config))
    launcher_logs = str(home.launcher_logs(attempt.number))
    return Start(cluster, tools, attempt, launcher_logs, module, env, ranks, hosts, uses_gpus=step.launched)
