"""The command of mpirun, which starts the ranks of all hosts; one spelling for each Open MPI major."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onerec.errors import ConfigError
from runner.launch.ranks import node_range
from runner.launch.values import Command

if TYPE_CHECKING:
    from runner.launch.values import Start


def mpirun(start: Start) -> Command:
    """mpirun over the hostfile; Open MPI 4 and 5 spell the control network differently."""
    tools, cluster = start.tools, start.cluster
    if tools.mpirun is None or tools.mpirun_major not in {4, 5}:
        raise ConfigError(
            "cluster.launcher is mpirun, but no Open MPI 4 or 5 is on the PATH; install openmpi-bin"
        )
    fewest, most = node_range(cluster, tools)
    if fewest != most:
        raise ConfigError(f'cluster.nnodes "{cluster.nnodes}" is a range; mpirun needs one number')
    hosts = (
        ("--hostfile", cluster.hostfile) if cluster.hostfile else ("--host", f"localhost:{start.local_ranks}")
    )
    exports = [part for name, value in sorted(start.env.items()) for part in ("-x", f"{name}={value}")]
    argv = (
        tools.mpirun,
        *("-np", str(fewest * start.local_ranks)),
        *hosts,
        *("--map-by", f"ppr:{start.local_ranks}:node"),
        *("--bind-to", "none"),  # the default gives each rank one core
        *(["--allow-run-as-root"] if tools.is_root else []),
        *_interface(cluster.network_interface or tools.interface, major=tools.mpirun_major),
        *exports,
        *(tools.python, "-m", *start.module),
    )
    return Command(argv=argv, env=start.env)


def _interface(interface: str | None, *, major: int) -> tuple[str, ...]:
    if interface is None:
        return ()
    control = ("--mca", "oob_tcp_if_include") if major == 4 else ("--prtemca", "prte_if_include")
    return ("--mca", "btl_tcp_if_include", interface, *control, interface)
