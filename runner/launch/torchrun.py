"""The commands of torchrun: one for this host alone, or one for each of several hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onerec.errors import ConfigError
from runner.launch.ranks import address_of, is_here, node_range
from runner.launch.ssh import over_ssh, tethered
from runner.launch.values import Command

if TYPE_CHECKING:
    from runner.hosts import Host
    from runner.launch.values import Start


def torchrun(start: Start) -> tuple[Command, ...]:
    """One command for each host that takes part; raises ConfigError for a binding that it does not know."""
    if all(is_here(host, start.tools) for host in start.hosts):
        return (Command(argv=_argv(start, "--standalone"), env=start.env),)
    return tuple(_on(host, start) for host in start.hosts)


def _on(host: Host, start: Start) -> Command:
    """One host's torchrun; the first host serves the rendezvous, and every other comes over ssh."""
    fewest, most = node_range(start.cluster, start.tools)
    first = start.hosts[0]
    serves = "true" if host == first else "false"
    argv = _argv(
        start,
        *("--nnodes", str(most) if fewest == most else f"{fewest}:{most}"),
        *("--rdzv-backend", "c10d"),
        *("--rdzv-endpoint", f"{address_of(first, start.tools)}:{start.attempt.port}"),
        *("--rdzv-id", start.attempt.nonce),
        # told, not found out: a host under another name would wait for itself
        *("--rdzv-conf", f"is_host={serves},join_timeout=600"),
        # becomes MASTER_ADDR on the host of rank 0; else its name, which others may not know
        *("--local-addr", address_of(host, start.tools)),
    )
    command = Command(argv=argv, env=start.env)
    if is_here(host, start.tools):
        return command
    remote = tethered(command, python=start.tools.python, work_dir=start.tools.work_dir)
    argv = over_ssh(host.name, remote, cluster=start.cluster)
    if fewest == most:
        return Command(argv=argv, env={})
    return Command(argv=(start.tools.python, "-m", "runner.lost_host", "--", *argv), env=start.env)


def _argv(start: Start, *meeting: str) -> tuple[str, ...]:
    return (
        *start.tools.torchrun,
        *meeting,
        *("--nproc-per-node", str(start.local_ranks)),
        *("--max-restarts", "0"),  # the runner starts the next attempt, so that each one is recorded
        *("--log-dir", start.launcher_logs),  # else a temporary folder is left behind at every start
        *_binding(start),
        *("-m", *start.module),
    )


def _binding(start: Start) -> tuple[str, ...]:
    """torchrun binds by GPU; a step with one process on each host, such as prepare, is not bound."""
    wanted = start.cluster.numa_binding
    if wanted is None or not start.uses_gpus:
        return ()
    if "--numa-binding" not in start.tools.torchrun_flags:
        raise ConfigError(
            f'cluster.numa_binding is "{wanted}", but this torchrun has no --numa-binding; '
            "install a newer torch, or remove the key"
        )
    return ("--numa-binding", wanted)
