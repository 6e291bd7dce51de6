"""Look at this host once (interpreter, launchers, cores, GPUs), so that commands can be told without."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from onerec import network
from runner.hosts import Host, read_hostfile
from runner.launch.values import Toolchain
from runner.slurm import ask

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from runner.manifest.tables import Cluster

PASSED_ON = ("PYTHONPATH", "OMP_NUM_THREADS", "RUNNER_TRACEBACK")


def read_hosts(cluster: Cluster) -> tuple[Host, ...]:
    """Hosts of the cluster's hostfile, none without one; raises ConfigError for a broken hostfile."""
    return read_hostfile(Path(cluster.hostfile)) if cluster.hostfile else ()


def find_toolchain(cluster: Cluster, *, hosts: tuple[Host, ...], env: Mapping[str, str]) -> Toolchain:
    """What the steps of a cluster can be started with from here."""
    addresses = addresses_of(hosts)
    mpirun = shutil.which("mpirun") if cluster.launcher == "mpirun" else None
    return Toolchain(
        python=sys.executable,
        torchrun=_torchrun(Path(sys.executable)),
        host=os.uname().nodename,
        work_dir=str(Path.cwd()),
        cores=len(os.sched_getaffinity(0)),
        gpus=_count_gpus(env),
        is_root=os.geteuid() == 0,
        mpirun=mpirun,
        mpirun_major=_mpirun_major(mpirun) if mpirun else None,
        hosts=hosts,
        addresses=addresses,
        own_names=frozenset(
            # a further loopback address stands for another host
            name
            for name, address in addresses.items()
            if address[:4] != "127." and network.is_own(address)
        ),
        network=network_of(addresses.values()),
        torchrun_flags=torchrun_flags() if cluster.numa_binding else frozenset(),
        srun=shutil.which("srun") if cluster.launcher == "slurm" else None,
        slurm_nodes=_job_nodes(env),
        slurm_peers=_job_peers(env) if cluster.launcher == "slurm" else (),
        passed_on=passed_on(env),
    )


def _torchrun(python: Path) -> tuple[str, ...]:
    """The torchrun beside the interpreter: one on the PATH may belong to another."""
    beside = python.with_name("torchrun")
    return (str(beside),) if beside.is_file() else (str(python), "-m", "torch.distributed.run")


def _job_nodes(env: Mapping[str, str]) -> int | None:
    """Hosts of the job of Slurm that an environment is of."""
    nodes = env.get("SLURM_JOB_NUM_NODES", "")
    return int(nodes) if nodes.isdecimal() and "SLURM_JOB_ID" in env else None


def _job_peers(env: Mapping[str, str]) -> tuple[str, ...]:
    nodes = env.get("SLURM_JOB_NODELIST")
    return ask.addresses(nodes)[:2] if nodes and (_job_nodes(env) or 1) > 1 else ()


def _mpirun_major(mpirun: str) -> int | None:
    """Major version of Open MPI; None for another MPI."""
    told = subprocess.run(
        [mpirun, "--version"], capture_output=True, text=True, timeout=20, check=False
    ).stdout
    found = re.search(r"Open MPI\) ([0-9]+)\.", told)
    return int(found[1]) if found else None


def addresses_of(hosts: tuple[Host, ...]) -> dict[str, str]:
    """The address under which the others reach each host; one that cannot be looked up is left out."""
    found = {}
    for host in hosts:
        with suppress(OSError):
            found[host.name] = socket.gethostbyname(host.name)
    others = [address for address in found.values() if not network.is_own(address)]
    here = network.address_towards(others[0]) if others else None
    # the name of this host is often an address that only it can use, 127.0.1.1
    return {name: here if here and network.is_own(address) else address for name, address in found.items()}


def network_of(addresses: Collection[str]) -> str | None:
    """The network that this host shares with all others, 10.0.0.0/24; with a router between, its interface.

    None where there is no other host, or no way to the first.
    """
    others = [address for address in addresses if not network.is_own(address)]
    found = network.interface_towards(others)
    if found is None:
        return None
    return found.network if all(network.is_in(address, found.network) for address in others) else found.name


def torchrun_flags() -> frozenset[str]:
    """Long options of this interpreter's torchrun, read from its source: to import torch takes seconds."""
    found = importlib.util.find_spec("torch")
    folders = found.submodule_search_locations if found else None
    if not folders:
        return frozenset()
    source = Path(folders[0], "distributed", "run.py")
    text = source.read_text(encoding="utf-8") if source.is_file() else ""
    return frozenset(re.findall(r'^ +"(--[a-z][a-z-]*)",', text, re.MULTILINE))


def _count_gpus(env: Mapping[str, str]) -> int:
    """NVIDIA GPUs that a process here would see, without asking the driver."""
    visible = env.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in {"", "-1"}])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def passed_on(env: Mapping[str, str]) -> dict[str, str]:
    """The caller's variables that go along; the folder of this package too, when it is not installed."""
    found = {name: env[name] for name in PASSED_ON if name in env}
    root = Path(__file__).resolve().parent.parent
    if root.name not in {"site-packages", "dist-packages"}:
        found["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, [env.get("PYTHONPATH")])])
    return found
