"""What a launcher is told and what it gives: the tools that were found, one attempt, and a command."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.hosts import Host
    from runner.manifest.tables import Cluster


@dataclass(frozen=True)
class Command:
    """One process to start on this host: what to run, and what it finds in its environment besides ours."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


@dataclass(frozen=True)
class Toolchain:
    """What was found on this host, so that commands can be told without looking."""

    python: str
    torchrun: tuple[str, ...]
    """How torchrun is started with that interpreter."""
    host: str
    """Name of this host."""
    work_dir: str
    cores: int
    gpus: int
    is_root: bool = False
    mpirun: str | None = None
    mpirun_major: int | None = None
    hosts: tuple[Host, ...] = ()
    """Hosts of the cluster's hostfile, in its order; empty: this host alone."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """Address of each of these hosts that could be looked up, as the others reach it."""
    own_names: frozenset[str] = frozenset()
    """Those of these hosts that are this one, under a name or address that is not `host`."""
    network: str | None = None
    """The network between the hosts, 10.0.0.0/24, or the interface that leads there, where there are some."""
    torchrun_flags: frozenset[str] = frozenset()
    """The options that this torchrun knows, where one was asked for that not every torchrun has."""
    srun: str | None = None
    slurm_nodes: int | None = None
    """Hosts of the job of Slurm that this process is in; None outside of one."""
    slurm_peers: tuple[str, ...] = ()
    """Addresses of the first two of them, where there are two."""
    passed_on: Mapping[str, str] = field(default_factory=dict)
    """Variables of the caller that go along to every process: PYTHONPATH, OMP_NUM_THREADS."""


@dataclass(frozen=True)
class Attempt:
    """One try at a step; `nonce` and `port` keep the ranks of two tries, or of two runs, from meeting."""

    number: int
    nonce: str
    port: int


@dataclass(frozen=True)
class Start:
    """All that a generator needs: the rank's own command, its environment, and how many there are."""

    cluster: Cluster
    tools: Toolchain
    attempt: Attempt
    launcher_logs: str
    module: tuple[str, ...]
    """What follows `python -m`: the rank shim around the trainer."""
    env: dict[str, str]
    local_ranks: int
    hosts: tuple[Host, ...] = ()
    """Hosts that take part, the first first; empty: this host alone."""
    uses_gpus: bool = True
    """Whether each rank has a GPU of its own, where there are any."""
