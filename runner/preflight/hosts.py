"""Whether every host of the cluster has what the run counts on: asked of all at once, judged in one go.

`ask.py` reaches the hosts, `answers.py` decides what an answer means; here both come together.
"""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onerec import network
from onerec.errors import ConfigError
from runner.attempt import FIRST_PORT, PORTS
from runner.launch.ranks import address_of, hosts_used, is_here, local_ranks, node_range
from runner.launch.ssh import shown_ssh
from runner.manifest.faults import dotted, printable
from runner.manifest.sources import source_parts, url_scheme
from runner.preflight import PACKAGES
from runner.preflight.answers import (
    HOSTFILE,
    Answer,
    Reply,
    Wanted,
    excuse,
    judge,
    of_interface,
    of_resources,
    twins,
)
from runner.preflight.ask import LIMIT_SECONDS, ask_all, ask_this_host, listener_in, token_in
from runner.preflight.findings import Finding, error
from runner.preflight.here import nearest_folder
from runner.toolchain import find_toolchain, read_hosts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runner.hosts import Host
    from runner.launch.values import Toolchain
    from runner.manifest.tables import Cluster, Manifest

THIS = "this host"


@dataclass(frozen=True)
class HostsReport:
    """What was found out about the hosts of a run, and which of them it is to be started without."""

    findings: tuple[Finding, ...] = ()
    left_out: frozenset[str] = frozenset()
    """Hosts of an elastic run that are not well; empty where too few others are."""


def check_hosts(manifest: Manifest, *, env: Mapping[str, str]) -> HostsReport:
    """All that is the matter with the hosts; what `check` tells of a hostfile is not told again."""
    cluster = manifest.cluster
    if cluster.launcher not in ("torchrun", "mpirun"):
        return HostsReport()
    try:
        tools = find_toolchain(cluster, hosts=read_hosts(cluster), env=env)
        hosts = hosts_used(cluster, tools)
    except ConfigError:
        return HostsReport()
    found = _look(manifest, hosts, tools)
    names = [host.name for host in hosts]
    kept, left_out = excuse(found, names=names, fewest=node_range(cluster, tools)[0])
    return HostsReport(tuple(finding for name in kept for finding in kept[name]), left_out)


def _look(manifest: Manifest, hosts: Sequence[Host], tools: Toolchain) -> dict[str, tuple[Finding, ...]]:
    """The findings about each other host by its name; under "" those about this one and about several."""
    others = [host for host in hosts if not is_here(host, tools)]
    known = [host for host in others if host.name in tools.addresses]
    folder = nearest_folder(Path(manifest.output_dir))
    with token_in(folder) as token, listener_in(_ports(manifest.cluster)) as port:
        question = _question(manifest, hosts, tools, token=token)
        own = ask_this_host(question, cluster=manifest.cluster, tools=tools)
        if own.answer is None:
            return {"": (_unexamined(own),)}
        question["listener"] = _listener(known, tools, port)
        replies = ask_all(known, question, cluster=manifest.cluster, tools=tools)
    folder_of_token = str(folder) if token["path"] else ""
    wanted = _wanted(manifest, tools, own=own.answer, folder=folder_of_token, listener=question["listener"])
    answers = {name: reply.answer for name, reply in replies.items() if reply.answer}
    takes_part = not hosts or len(others) < len(hosts)
    return {
        "": (*_of_this_host(wanted, takes_part=takes_part, port=port), *twins(answers)),
        **{host.name: (_unknown(host.name),) for host in others if host not in known},
        **{name: judge(name, reply, wanted) for name, reply in replies.items()},
    }


def _question(
    manifest: Manifest, hosts: Sequence[Host], tools: Toolchain, *, token: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "packages": list(PACKAGES),
        "code": ["runner", "onerec"],
        "paths": list(paths_needed(manifest, tools)),
        "programs": ["numactl"] if manifest.cluster.numa_binding else [],
        "token": dict(token),
        "peers": [address_of(host, tools) for host in hosts[:2]],
        "listener": None,
    }


def _listener(known: Sequence[Host], tools: Toolchain, port: int | None) -> list[Any] | None:
    """Where the others are to connect to: the address that this host has on the way to them."""
    address = network.address_towards(tools.addresses[known[0].name]) if known else None
    return [address, port] if address and port else None


def _wanted(
    manifest: Manifest, tools: Toolchain, *, own: Answer, folder: str, listener: list[Any] | None
) -> Wanted:
    cluster = manifest.cluster
    return Wanted(
        own=own,
        work_dir=tools.work_dir,
        python=tools.python,
        places=paths_needed(manifest, tools),
        ranks=local_ranks(cluster, tools),
        folder=folder,
        interface=cluster.network_interface,
        binds=cluster.numa_binding is not None,
        listener=":".join(map(str, listener or ())),
        reach=shown_ssh(cluster),
        limit_seconds=LIMIT_SECONDS,
    )


def paths_needed(manifest: Manifest, tools: Toolchain) -> dict[str, str]:
    """Everything outside the run that other hosts read too, with the place in the manifest that names it."""
    found = {}
    if manifest.model.base_model_dir is not None:
        found[manifest.model.base_model_dir] = "model.base_model_dir"
    if manifest.cluster.env_file is not None:
        found[manifest.cluster.env_file] = "cluster.env_file"
    for name, dataset in manifest.datasets.items():
        for below, source in source_parts(dataset):
            if isinstance(source, str) and not url_scheme(source):
                found[_fixed_part(source)] = dotted(("datasets", name, *below))
    for name, stage in manifest.stages.items():
        if stage.kind == "train" and stage.resume_from is not None:
            found[stage.resume_from] = dotted(("stages", name, "resume_from"))
    return {**found, **dict.fromkeys(_programs(manifest.cluster, tools), HOSTFILE)}


def _programs(cluster: Cluster, tools: Toolchain) -> Iterator[str]:
    """What the launcher starts on every host: torchrun, or the daemon of the same Open MPI."""
    if cluster.launcher == "torchrun":
        yield tools.torchrun[0]
    elif tools.mpirun is not None:
        yield str(Path(tools.mpirun).with_name("orted" if tools.mpirun_major == 4 else "prted"))


def _fixed_part(source: str) -> str:
    """A path as it is; of a pattern, the folder above its first wildcard."""
    path = Path(source)
    while glob.has_magic(str(path)):
        path = path.parent
    return str(path)


def _ports(cluster: Cluster) -> range:
    """Where ranks meet: torchrun on a port that the runner chooses, Open MPI on one of the kernel's."""
    return range(FIRST_PORT, FIRST_PORT + PORTS) if cluster.launcher == "torchrun" else range(1)


def _of_this_host(wanted: Wanted, *, takes_part: bool, port: int | None) -> Iterator[Finding]:
    if takes_part:
        yield from of_interface(THIS, wanted.own, wanted)
        yield from of_resources(THIS, wanted.own, wanted)
    if port is None:
        told = f"no port between {FIRST_PORT} and {FIRST_PORT + PORTS - 1} could be opened here"
        yield error("", told, "see what holds them: ss -ltn")


def _unexamined(reply: Reply) -> Finding:
    words = printable(reply.words) or f"exit code {reply.code}"
    return error("", f"this host could not be examined: {words}", "see that Python starts in this folder")


def _unknown(name: str) -> Finding:
    remedy = "correct it, write its address instead, or add it to /etc/hosts of every host"
    return error(HOSTFILE, f"no address is known for {name}", remedy)
