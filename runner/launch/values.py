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
    interface: str | None = None
    """Network interface that leads to the other hosts, where there are some."""
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
