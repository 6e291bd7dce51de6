"""Look at this host once (interpreter, launchers, cores, GPUs), so that commands can be told without."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runner.hosts import Host, read_hostfile
from runner.launch.values import Toolchain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.manifest.tables import Cluster

PASSED_ON = ("PYTHONPATH", "OMP_NUM_THREADS", "RUNNER_TRACEBACK")


def read_hosts(cluster: Cluster) -> tuple[Host, ...]:
    """Hosts of the cluster's hostfile, none without one; raises ConfigError for a broken hostfile."""
    return read_hostfile(Path(cluster.hostfile)) if cluster.hostfile else ()


def find_toolchain(cluster: Cluster, *, hosts: tuple[Host, ...], env: Mapping[str, str]) -> Toolchain:
    """What the steps of a cluster can be started with from here."""
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
        interface=None if cluster.network_interface else interface_to(hosts),
        passed_on=passed_on(env),
    )


def _torchrun(python: Path) -> tuple[str, ...]:
    """The torchrun beside the interpreter: one on the PATH may belong to another."""
    beside = python.with_name("torchrun")
    return (str(beside),) if beside.is_file() else (str(python), "-m", "torch.distributed.run")


def _mpirun_major(mpirun: str) -> int | None:
    """Major version of Open MPI; None for another MPI."""
    told = subprocess.run(
        [mpirun, "--version"], capture_output=True, text=True, timeout=20, check=False
    ).stdout
    found = re.search(r"Open MPI\) ([0-9]+)\.", told)
    return int(found[1]) if found else None


def interface_to(hosts: tuple[Host, ...]) -> str | None:
    """Network interface of the route to the first host that is not this one; None where none is found.

    Every host is taken to name it alike; where they do not, `cluster.network_interface` says what to use.
    """
    for host in hosts:
        try:
            address = socket.gethostbyname(host.name)
            told = subprocess.run(
                ["ip", "-j", "route", "get", address], capture_output=True, text=True, timeout=20, check=False
            ).stdout
            device = json.loads(told)[0]["dev"]
        except (OSError, ValueError, LookupError):
            return None  # a host that cannot be found is told by whoever needs it
        if device != "lo":
            return str(device)
    return None


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
