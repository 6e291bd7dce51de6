"""Turn one planned step into the exact commands that run it: here, under torchrun, or under mpirun.

Nothing here starts a process or touches a disk: the same step, cluster and tools give the same commands.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from onerec.errors import ConfigError
from runner.rundir import StepDir

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.hosts import Host
    from runner.manifest.tables import Cluster
    from runner.steps import Step

SCRUBBED_PREFIXES = (
    "PET_",
    "TORCHELASTIC_",
    "OMPI_COMM_WORLD_",
    "PMIX_RANK",
    "PMIX_NAMESPACE",
    "PMIX_SERVER_",
)
"""Variables of a launcher around the runner, which those below it would take for their own."""
SCRUBBED = frozenset(
    {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"}
)


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
class _Start:
    """All that the generators below need: the rank's own command, its environment, and how many there are."""

    cluster: Cluster
    tools: Toolchain
    attempt: Attempt
    launcher_logs: str
    module: tuple[str, ...]
    """What follows `python -m`: the rank shim around the trainer."""
    env: dict[str, str]
    local_ranks: int


def launch(
    step: Step, *, run: Path, cluster: Cluster, tools: Toolchain, attempt: Attempt
) -> tuple[Command, ...]:
    """The commands that together are one attempt at a step; all of them start at once.

    Raises ConfigError for a launcher that is not there and for more hosts than the hostfile has.
    """
    start = _start(step, run=run, cluster=cluster, tools=tools, attempt=attempt)
    if not _is_launched(step, cluster, tools):
        return (Command(argv=(tools.python, "-m", *start.module), env=start.env),)
    if cluster.launcher == "torchrun":
        hosts = _hosts_used(cluster, tools)
        if [host for host in hosts if not _is_here(host, tools)]:
            return tuple(_torchrun_on(host, start, hosts=hosts) for host in hosts)
        return (_torchrun_here(start),)
    if cluster.launcher == "mpirun":
        return (_mpirun(start),)
    raise ConfigError(f"cluster.launcher {cluster.launcher!r} cannot be started yet; use torchrun or mpirun")


def script(commands: tuple[Command, ...], *, title: str, tools: Toolchain, removed: tuple[Path, ...]) -> str:
    """The commands as a shell script that a person can read and run: it does what the runner did.

    `removed` are files that an earlier attempt may have left and that would be taken for this one's.
    """
    env = {name: value for command in commands for name, value in command.env.items()}
    lines = [
        "#!/usr/bin/env bash",
        f"# {title}. Run it by hand to do the same again.",
        "set -euo pipefail",
        f"cd {shlex.quote(tools.work_dir)}",
        *(f"unset ${{!{prefix}@}}" for prefix in SCRUBBED_PREFIXES),
        f"unset {' '.join(sorted(SCRUBBED))}",
        *(f"export {name}={shlex.quote(value)}" for name, value in sorted(env.items())),
        f"rm -f {shlex.join(map(str, removed))}",
    ]
    if len(commands) == 1:
        return "\n".join([*lines, f"exec {_readable(commands[0])}", ""])
    waits = 'for job in $(jobs -p); do wait "$job"; done'
    return "\n".join([*lines, *(f"{_readable(command)} &" for command in commands), waits, ""])


def is_scrubbed(name: str) -> bool:
    """Whether a variable of the caller must not reach the steps."""
    return name in SCRUBBED or name.startswith(SCRUBBED_PREFIXES)


def local_ranks(cluster: Cluster, tools: Toolchain) -> int:
    """Processes per host: as written; "auto" is the first host's slots, else one per GPU, else one."""
    if cluster.launcher == "local":
        return 1
    if cluster.nproc_per_node != "auto":
        return int(cluster.nproc_per_node)
    slots = tools.hosts[0].slots if tools.hosts else None
    return slots or tools.gpus or 1


def world_size(step: Step, *, cluster: Cluster, tools: Toolchain) -> int | None:
    """Ranks that must all end well; None when torchrun itself decides how many hosts take part."""
    if not _is_launched(step, cluster, tools):
        return 1
    fewest, most = _node_range(cluster, tools)
    return fewest * _ranks_on_host(step, cluster, tools) if fewest == most else None


def _is_launched(step: Step, cluster: Cluster, tools: Toolchain) -> bool:
    """Whether the launcher starts a step; one that is only spread over hosts needs more than one of them."""
    if cluster.launcher == "local":
        return False
    return step.launched or (step.one_per_host and _node_range(cluster, tools)[1] > 1)


def _ranks_on_host(step: Step, cluster: Cluster, tools: Toolchain) -> int:
    return local_ranks(cluster, tools) if step.launched else 1


def _start(step: Step, *, run: Path, cluster: Cluster, tools: Toolchain, attempt: Attempt) -> _Start:
    home = StepDir(Path(step.folder))
    log_dir = home.logs(attempt.number)
    ranks = _ranks_on_host(step, cluster, tools)
    env = {
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # else a file of the working folder can shadow a module of Python
        "OMP_NUM_THREADS": str(max(1, tools.cores // ranks)),
        **tools.passed_on,
        "RUNNER_RUN": str(run),
        "RUNNER_ATTEMPT": str(attempt.number),
        "RUNNER_NONCE": attempt.nonce,
        "RUNNER_RENDEZVOUS": str(home.rendezvous(attempt.number)),
        **_interface_env(cluster.network_interface or tools.interface),
        **cluster.env,
    }
    module = ("runner.rank", "--log-dir", str(log_dir), "--", "-m", "onerec", str(home.config))
    return _Start(cluster, tools, attempt, str(home.launcher_logs(attempt.number)), module, env, ranks)


def _interface_env(interface: str | None) -> dict[str, str]:
    if interface is None:
        return {}
    return {"NCCL_SOCKET_IFNAME": f"={interface}", "GLOO_SOCKET_IFNAME": interface}  # "=": exactly this name


def _node_range(cluster: Cluster, tools: Toolchain) -> tuple[int, int]:
    """Fewest and most hosts: as written, else every host of the hostfile."""
    if cluster.nnodes is None and tools.hosts:
        return len(tools.hosts), len(tools.hosts)
    return cluster.node_range


def _hosts_used(cluster: Cluster, tools: Toolchain) -> tuple[Host, ...]:
    fewest, most = _node_range(cluster, tools)
    if not tools.hosts and most == 1:
        return ()
    if len(tools.hosts) < fewest:
        raise ConfigError(
            f"cluster.nnodes asks for {fewest} hosts, the hostfile has {len(tools.hosts)}; add hosts to it"
        )
    return tools.hosts[:most]


def _is_here(host: Host, tools: Toolchain) -> bool:
    return host.name in {tools.host, tools.host.partition(".")[0], "localhost", "127.0.0.1"}


def _torchrun_here(start: _Start) -> Command:
    return Command(
        argv=(
            *start.tools.torchrun,
            "--standalone",
            *_torchrun_common(start),
            *("-m", *start.module),
        ),
        env=start.env,
    )


def _torchrun_on(host: Host, start: _Start, *, hosts: tuple[Host, ...]) -> Command:
    """One host's torchrun; the first host serves the rendezvous, and every other comes over ssh."""
    fewest, most = _node_range(start.cluster, start.tools)
    first = hosts[0].name
    argv = (
        *start.tools.torchrun,
        *("--nnodes", str(most) if fewest == most else f"{fewest}:{most}"),
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{first}:{start.attempt.port}"),
        *("--rdzv-id", start.attempt.nonce),
        *("--rdzv-conf", f"is_host={'true' if host.name == first else 'false'},join_timeout=600"),
        *("--local-addr", host.name),
        *_torchrun_common(start),
        *("-m", *start.module),
    )
    if _is_here(host, start.tools):
        return Command(argv=argv, env=start.env)
    exports = [f"{name}={value}" for name, value in sorted(start.env.items())]
    remote = f"cd {shlex.quote(start.tools.work_dir)} && exec {shlex.join(['env', *exports, *argv])}"
    return Command(argv=("ssh", "-o", "BatchMode=yes", host.name, "--", remote), env={})


def _torchrun_common(start: _Start) -> tuple[str, ...]:
    # no restarts of its own: the runner starts the next attempt, so that each one is recorded;
    # without a log folder torchrun leaves a temporary one behind at every start
    return (
        *("--nproc-per-node", str(start.local_ranks)),
        *("--max-restarts", "0"),
        *("--log-dir", start.launcher_logs),
    )


def _mpirun(start: _Start) -> Command:
    """mpirun over the hostfile; Open MPI 4 and 5 spell the control network differently."""
    tools, cluster = start.tools, start.cluster
    if tools.mpirun is None or tools.mpirun_major not in {4, 5}:
        raise ConfigError(
            "cluster.launcher is mpirun, but no Open MPI 4 or 5 is on the PATH; install openmpi-bin"
        )
    fewest, most = _node_range(cluster, tools)
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
        *_mpirun_interface(cluster.network_interface or tools.interface, major=tools.mpirun_major),
        *exports,
        *(tools.python, "-m", *start.module),
    )
    return Command(argv=argv, env=start.env)


def _mpirun_interface(interface: str | None, *, major: int) -> tuple[str, ...]:
    if interface is None:
        return ()
    control = ("--mca", "oob_tcp_if_include") if major == 4 else ("--prtemca", "prte_if_include")
    return ("--mca", "btl_tcp_if_include", interface, *control, interface)


def _readable(command: Command) -> str:
    """A command over several lines: a new one before each option."""
    lines: list[list[str]] = [[]]
    for word in command.argv:
        if word.startswith("-") and word != "--" and lines[-1]:
            lines.append([])
        lines[-1].append(shlex.quote(word))
    return " \\\n    ".join(" ".join(line) for line in lines)
