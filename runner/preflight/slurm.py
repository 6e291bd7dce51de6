"""What would keep a job of Slurm from being submitted or from starting, as far as Slurm tells beforehand.

`check_slurm` asks; the other functions judge what was answered.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from runner.manifest.faults import did_you_mean, listed
from runner.preflight.findings import Finding, error, warning
from runner.slurm import ask
from runner.slurm.limits import gpu_count, seconds_of

if TYPE_CHECKING:
    from runner.manifest.tables import Cluster
    from runner.slurm.ask import Partition

PROGRAMS = ("sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
OLDEST = (20, 11)
"""The first Slurm whose srun knows --overlap."""
_PARTITION = "cluster.slurm.partition"


def check_slurm(cluster: Cluster, *, env: Mapping[str, str]) -> Iterator[Finding]:
    """Everything about the job; of a job that is running already, only its size."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        yield error(
            "cluster.launcher",
            f"not on the PATH: {listed(missing)}",
            "start it on a host where jobs are submitted, or load the module of Slurm",
        )
        return
    yield from check_version(ask.version())
    if "SLURM_JOB_ID" in env:
        yield from check_job(cluster, env)
        return
    try:
        found = ask.partitions()
    except ask.SlurmError as fault:
        message, _, remedy = str(fault).partition("; ")
        yield error("cluster.launcher", message, remedy)
        return
    yield from check_partitions(cluster, found)


def check_version(version: tuple[int, int] | None) -> Iterator[Finding]:
    """That srun knows all options that it is given."""
    if version is not None and version < OLDEST:
        yield error(
            "cluster.launcher",
            f"Slurm is {version[0]}.{version[1]:02d}, and its srun lacks --overlap",
            'Slurm 20.11 or newer is needed; else use launcher = "mpirun" inside a job',
        )


def check_job(cluster: Cluster, env: Mapping[str, str]) -> Iterator[Finding]:
    """That the job that this process is in has the hosts that are asked for."""
    nodes = env.get("SLURM_JOB_NUM_NODES", "")
    if cluster.nnodes is not None and nodes.isdecimal() and int(nodes) < cluster.node_range[1]:
        yield error(
            "cluster.nnodes",
            f"{cluster.nnodes} hosts do not fit into job {env['SLURM_JOB_ID']}, which has {nodes}",
            "lower it, or unset SLURM_JOB_ID to submit a job of its own",
        )


def check_partitions(cluster: Cluster, found: Sequence[Partition]) -> Iterator[Finding]:
    """That each partition that is named is there and can take the job."""
    by_name = {partition.name: partition for partition in found}
    for name in cluster.slurm.partition.split(",") if cluster.slurm.partition else ():
        if name in by_name:
            yield from _check_partition(cluster, by_name[name])
        else:
            remedy = did_you_mean(name, by_name) or f"there are: {listed(by_name)}"
            yield error(_PARTITION, f"Slurm has no partition {name!r}", remedy)


def _check_partition(cluster: Cluster, partition: Partition) -> Iterator[Finding]:
    """What is only odd today: hosts come and go, and a site may let some jobs go beyond limits."""
    slurm, nodes = cluster.slurm, cluster.node_range[1]
    if not partition.is_up:
        yield warning(
            _PARTITION,
            f"{partition.name} is not up: the job will wait until it is",
            "choose another, or wait",
        )
    if nodes > partition.nodes:
        yield warning(
            "cluster.nnodes",
            f"{nodes} hosts are more than the {partition.nodes} of partition {partition.name}",
            "lower it, or choose another partition",
        )
    gpus = gpu_count(slurm.gpus_per_node or 0) or 0
    if gpus > partition.gpus:
        yield warning(
            "cluster.slurm.gpus_per_node",
            f"{gpus} GPUs are more than the {partition.gpus} that hosts of partition {partition.name} have",
            "lower it, or choose another partition",
        )
    limit, time = seconds_of(partition.time_limit), seconds_of(slurm.time or "")
    if limit is not None and time is not None and time > limit:
        yield warning(
            "cluster.slurm.time",
            f"{slurm.time} is longer than the {partition.time_limit} that partition {partition.name} allows",
            f'write "{partition.time_limit}": the run goes on in the next job',
        )
