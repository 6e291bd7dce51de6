"""The commands of torchrun: one for this host alone, or one for each of several hosts."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from runner.launch.ranks import is_here, node_range
from runner.launch.values import Command

if TYPE_CHECKING:
    from runner.hosts import Host
    from runner.launch.values import Start


def torchrun_here(start: Start) -> Command:
    """All ranks on this host, with a rendezvous of torchrun's own."""
    return Command(
        argv=(
            *start.tools.torchrun,
            "--standalone",
            *_common(start),
            *("-m", *start.module),
        ),
        env=start.env,
    )


def torchrun_on(host: Host, start: Start, *, hosts: tuple[Host, ...]) -> Command:
    """One host's torchrun; the first host serves the rendezvous, and every other comes over ssh."""
    fewest, most = node_range(start.cluster, start.tools)
    first = hosts[0].name
    argv = (
        *start.tools.torchrun,
        *("--nnodes", str(most) if fewest == most else f"{fewest}:{most}"),
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{first}:{start.attempt.port}"),
        *("--rdzv-id", start.attempt.nonce),
        *("--rdzv-conf", f"is_host={'true' if host.name == first else 'false'},join_timeout=600"),
        *("--local-addr", host.name),
        *_common(start),
        *("-m", *start.module),
    )
    if is_here(host, start.tools):
        return Command(argv=argv, env=start.env)
    exports = [f"{name}={value}" for name, value in sorted(start.env.items())]
    remote = f"cd {shlex.quote(start.tools.work_dir)} && exec {shlex.join(['env', *exports, *argv])}"
    return Command(argv=("ssh", "-o", "BatchMode=yes", host.name, "--", remote), env={})


def _common(start: Start) -> tuple[str, ...]:
    # no restarts of its own: the runner starts the next attempt, so that each one is recorded;
    # without a log folder torchrun leaves a temporary one behind at every start
    return (
        *("--nproc-per-node", str(start.local_ranks)),
        *("--max-restarts", "0"),
        *("--log-dir", start.launcher_logs),
    )
