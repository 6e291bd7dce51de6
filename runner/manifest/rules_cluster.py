"""The rules of [cluster]: what each launcher can do with hosts, processes and environment."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runner.env_file import OWNED, VARIABLE
from runner.manifest.faults import Problem, shown
from runner.manifest.rules_slurm import check_slurm
from runner.manifest.tables import Cluster
from runner.redact import is_secret_name

_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,14}")
_WORD = re.compile(r"[A-Za-z0-9/._+@][A-Za-z0-9/._+@-]*")
"""A path that Open MPI, which takes its arguments for ssh apart at blanks, passes on whole."""


def check_cluster(cluster: Cluster) -> Iterator[Problem]:
    """Every key of [cluster] that its launcher cannot honour."""
    low, high = cluster.node_range
    if not 1 <= low <= high:
        yield Problem(
            ("cluster", "nnodes"), f"{shown(cluster.nnodes)} is no range of hosts", 'write one such as "1:4"'
        )
    elif cluster.launcher == "local":
        yield from _check_local(cluster, high)
    else:
        yield from _check_hosts(cluster, low, high)
    yield from check_slurm(cluster)
    yield from _check_ssh_config(cluster)
    yield from _check_binding(cluster)
    yield from _check_environment(cluster)


def _check_local(cluster: Cluster, nodes: int) -> Iterator[Problem]:
    several = 'write launcher = "torchrun" or "mpirun", or remove it'
    one = 'launcher "local" starts one process on this machine'
    if cluster.nproc_per_node not in ("auto", 1):
        yield Problem(("cluster", "nproc_per_node"), f"{cluster.nproc_per_node}, but {one}", several)
    if nodes > 1:
        yield Problem(("cluster", "nnodes"), f"{shown(cluster.nnodes)}, but {one}", several)
    if cluster.hostfile is not None:
        yield Problem(("cluster", "hostfile"), f"no host would be used: {one}", several)


def _check_hosts(cluster: Cluster, low: int, high: int) -> Iterator[Problem]:
    if low != high and cluster.launcher != "torchrun":
        yield Problem(
            ("cluster", "nnodes"),
            f"{shown(cluster.nnodes)} is a range, which only torchrun knows",
            f"write nnodes = {high}",
        )
    if high > 1 and cluster.hostfile is None and cluster.launcher != "slurm":
        yield Problem(
            ("cluster", "hostfile"),
            f"missing key 'hostfile': {cluster.launcher} needs to know {high} hosts",
            'write a file of lines such as "host slots=8" and name it here, or nnodes = 1',
            ("cluster",),
        )


def _check_ssh_config(cluster: Cluster) -> Iterator[Problem]:
    path = ("cluster", "ssh_config")
    if cluster.ssh_config is None:
        return
    if cluster.hostfile is None or cluster.launcher not in ("torchrun", "mpirun"):
        yield Problem(
            path,
            f"{shown(cluster.ssh_config)} leads to no host",
            'use it with launcher "torchrun" or "mpirun" and a hostfile',
        )
    elif not _WORD.fullmatch(cluster.ssh_config):
        yield Problem(
            path,
            f"{shown(cluster.ssh_config)} is no path that launchers pass on whole",
            "use one of letters, digits and '/._+@-', no '-' in front",
        )


def _check_binding(cluster: Cluster) -> Iterator[Problem]:
    if cluster.numa_binding is not None and cluster.launcher != "torchrun":
        yield Problem(
            ("cluster", "numa_binding"),
            f"{shown(cluster.numa_binding)}, but only torchrun knows which CPUs lie beside which GPU",
            'write launcher = "torchrun", or remove it: then every rank may use all CPUs',
        )


def _check_environment(cluster: Cluster) -> Iterator[Problem]:
    if cluster.network_interface is not None and not _INTERFACE.fullmatch(cluster.network_interface):
        yield Problem(
            ("cluster", "network_interface"),
            f"{shown(cluster.network_interface)} is no name of an interface",
            "write one that `ip link` shows, such as eth0",
        )
    for name, value in cluster.env.items():
        if not VARIABLE.fullmatch(name):
            yield Problem(
                ("cluster", "env", name),
                f"{name!r} is no name of a variable",
                "use letters, digits and '_', no digit in front",
            )
        elif OWNED.fullmatch(name):
            yield Problem(("cluster", "env", name), f"{name!r} is set by the launcher", "remove it")
        elif not value.isprintable():
            yield Problem(
                ("cluster", "env", name), "the value holds a character that is not printable", "remove it"
            )
        elif value and is_secret_name(name):
            yield Problem(
                ("cluster", "env", name),
                f"{name!r} is a secret, and what is written here is kept in the run directory",
                "put it into a file of NAME=value lines that only you can read, named by cluster.env_file",
            )
