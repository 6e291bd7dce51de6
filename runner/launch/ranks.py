"""How many hosts and ranks a step has, and which hosts: pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onerec.errors import ConfigError
from runner.slurm.limits import tasks_per_node

if TYPE_CHECKING:
    from runner.hosts import Host
    from runner.launch.values import Toolchain
    from runner.manifest.tables import Cluster
    from runner.steps import Step


def local_ranks(cluster: Cluster, tools: Toolchain) -> int:
    """Processes per host: as written; "auto" is the first host's slots, else one per GPU, else one.

    Under Slurm it is one for each of gpus_per_node.
    """
    if cluster.launcher == "local":
        return 1
    if cluster.launcher == "slurm":
        return tasks_per_node(cluster)
    if cluster.nproc_per_node != "auto":
        return int(cluster.nproc_per_node)
    slots = tools.hosts[0].slots if tools.hosts else None
    return slots or tools.gpus or 1


def world_size(step: Step, *, cluster: Cluster, tools: Toolchain) -> int | None:
    """Ranks that must all end well; None when torchrun itself decides how many hosts take part."""
    if not is_launched(step, cluster, tools):
        return 1
    fewest, most = node_range(cluster, tools)
    return fewest * ranks_on_host(step, cluster, tools) if fewest == most else None


def is_launched(step: Step, cluster: Cluster, tools: Toolchain) -> bool:
    """Whether the launcher starts a step; one that is only spread over hosts needs more than one of them."""
    if cluster.launcher == "local":
        return False
    return step.launched or (step.one_per_host and node_range(cluster, tools)[1] > 1)


def ranks_on_host(step: Step, cluster: Cluster, tools: Toolchain) -> int:
    """Processes of one step on each host."""
    return local_ranks(cluster, tools) if step.launched else 1


def node_range(cluster: Cluster, tools: Toolchain) -> tuple[int, int]:
    """Fewest and most hosts: as written, else every host of the hostfile or of the job of Slurm."""
    if cluster.nnodes is None and cluster.launcher == "slurm" and tools.slurm_nodes:
        return tools.slurm_nodes, tools.slurm_nodes
    if cluster.nnodes is None and tools.hosts:
        return len(tools.hosts), len(tools.hosts)
    return cluster.node_range


def hosts_used(cluster: Cluster, tools: Toolchain) -> tuple[Host, ...]:
    """Hosts that take part; none for this host alone, and under Slurm, which knows them itself.

    Raises ConfigError when the hostfile has too few.
    """
    fewest, most = node_range(cluster, tools)
    if cluster.launcher == "slurm" or (not tools.hosts and most == 1):
        return ()
    if len(tools.hosts) < fewest:
        raise ConfigError(
            f"cluster.nnodes asks for {fewest} hosts, the hostfile has {len(tools.hosts)}; add hosts to it"
        )
    return tools.hosts[:most]


def is_here(host: Host, tools: Toolchain) -> bool:
    """Whether a host of the hostfile is the one the runner is on."""
    names = {tools.host, tools.host.partition(".")[0], "localhost", "127.0.0.1"}
    return host.name in names or host.name in tools.own_names


def address_of(host: Host, tools: Toolchain) -> str:
    """Where the others reach a host: its address, or its name where that could not be looked up."""
    return tools.addresses.get(host.name, host.name)
