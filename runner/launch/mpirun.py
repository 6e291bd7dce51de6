"""The command of mpirun, which starts the ranks of all hosts; one spelling for each Open MPI major."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from onerec.errors import ConfigError
from runner.launch.ranks import address_of, node_range
from runner.launch.ssh import ssh_options
from runner.launch.values import Command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.launch.values import Start

KEEPALIVE = {
    "oob_tcp_keepalive_time": "10",
    "oob_tcp_keepalive_intvl": "10",
    "oob_tcp_keepalive_probes": "3",
}
"""Both majors: a host that is gone is noticed after 40 seconds, by default after 8 minutes."""


def mpirun(start: Start) -> Command:
    """mpirun over the hosts that take part; raises ConfigError without Open MPI 4 or 5, and for a range."""
    major = start.tools.mpirun_major
    fewest, most = node_range(start.cluster, start.tools)
    if fewest != most:
        raise ConfigError(f'cluster.nnodes "{start.cluster.nnodes}" is a range; mpirun needs one number')
    met = replace(start, env={**_meeting_point(start), **start.env})
    if start.tools.mpirun is not None and major == 4:
        return _open_mpi_4(start.tools.mpirun, met)
    if start.tools.mpirun is not None and major == 5:
        return _open_mpi_5(start.tools.mpirun, met)
    raise ConfigError(
        "cluster.launcher is mpirun, but no Open MPI 4 or 5 is on the PATH; install openmpi-bin"
    )


def _open_mpi_4(mpirun: str, start: Start) -> Command:
    """ORTE: its daemons are orted, and all its parameters are given with --mca."""
    own = _between_daemons(start, network="oob_tcp_if_include", ssh="plm_rsh_args")
    return _command(mpirun, start, own=_options("--mca", own))


def _open_mpi_5(mpirun: str, start: Start) -> Command:
    """PRRTE: its daemons are prted, and their parameters are given with --prtemca."""
    own = _between_daemons(start, network="prte_if_include", ssh="plm_ssh_args")
    return _command(mpirun, start, own=_options("--prtemca", own))


def _command(mpirun: str, start: Start, *, own: tuple[str, ...]) -> Command:
    """What both majors spell alike, around the `own` parameters of one."""
    ranks, network = start.local_ranks, _network(start)
    # by name: the values are in mpirun's own environment. Each once: of two, one major takes the first
    exports = [word for name in sorted(start.env) for word in ("-x", name)]
    argv = (
        mpirun,
        *("-np", str(max(1, len(start.hosts)) * ranks)),
        # all named with their processes: where a hostfile has no slots, mpirun would count cores
        *("--host", ",".join(f"{host.name}:{ranks}" for host in start.hosts) or f"localhost:{ranks}"),
        *("--map-by", f"ppr:{ranks}:node"),
        *("--bind-to", "none"),  # the default gives each rank one core
        *(["--allow-run-as-root"] if start.tools.is_root else []),
        *(("--mca", "btl_tcp_if_include", network) if network else ()),
        *own,
        *exports,
        *(start.tools.python, "-m", *start.module),
    )
    return Command(argv=argv, env=start.env)


def _meeting_point(start: Start) -> dict[str, str]:
    """What scripts look for that were written for torchrun; our own ranks meet by RUNNER_RENDEZVOUS."""
    first = address_of(start.hosts[0], start.tools) if len(start.hosts) > 1 else "127.0.0.1"
    return {"MASTER_ADDR": first, "MASTER_PORT": str(start.attempt.port)}


def _network(start: Start) -> str | None:
    if len(start.hosts) < 2:
        return None
    return start.cluster.network_interface or start.tools.network


def _between_daemons(start: Start, *, network: str, ssh: str) -> dict[str, str]:
    """Parameters of the daemons of several hosts; `network` and `ssh` are what a major calls these two."""
    if len(start.hosts) < 2:
        return {}
    chosen = _network(start)
    return {
        **({network: chosen} if chosen else {}),
        **KEEPALIVE,
        ssh: " ".join(ssh_options(start.cluster)),
    }


def _options(flag: str, parameters: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(word for name, value in parameters.items() for word in (flag, name, value))
