"""How the ranks of several hosts share one model: plain integers, so that runner and trainer agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from onerec.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


def mesh_shape(sharding: Literal["auto", "full", "hybrid"], *, hosts: Sequence[int]) -> tuple[int, ...]:
    """(ranks,) where all ranks share one copy; (hosts, ranks of a host) for a copy on each host (HSDP).

    `hosts` are the ranks on each host. auto keeps a copy on each of several equal hosts, whose GPUs are
    joined by something faster than the network; hosts of one rank would each hold all, and share instead.
    Raises ConfigError for hybrid on hosts with different numbers of ranks.
    """
    is_even = len(set(hosts)) == 1
    if sharding == "hybrid" and not is_even:
        raise ConfigError(
            f'sharding = "hybrid" needs as many ranks on every host, but they have {_listed(hosts)}; '
            'start as many on each, or set sharding = "full"'
        )
    is_hybrid = sharding == "hybrid" or (sharding == "auto" and is_even and hosts[0] > 1)
    return (len(hosts), hosts[0]) if is_hybrid and len(hosts) > 1 else (sum(hosts),)


def hosts_of(local_sizes: Sequence[int]) -> tuple[int, ...]:
    """Ranks on each host, from what each rank in turn knows of its own host.

    Raises ConfigError where the ranks of one host are not numbered one after another.
    """
    hosts: list[int] = []
    while sum(hosts) < len(local_sizes):
        start, size = sum(hosts), local_sizes[sum(hosts)]
        if set(local_sizes[start : start + size]) != {size} or start + size > len(local_sizes):
            raise ConfigError(
                f"ranks from {start} on are not numbered host by host (ranks on their hosts: "
                f"{_listed(local_sizes)}); start the stage through its command.sh"
            )
        hosts.append(size)
    return tuple(hosts)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
