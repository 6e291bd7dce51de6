"""A real Slurm on one machine: `minislurm.py run|stop DIR`; munged, slurmctld and two slurmd (node1, node2).

Debian's slurmctld, slurmd, slurm-client and munge are enough. `run` stays in the foreground: it writes
DIR/slurm.conf, prints `ready` when both nodes are idle, and takes every process of the cluster down when it
ends or its parent does. Ports are free ones; nothing outside DIR is written.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

NODES = ("node1", "node2")
CONF = """\
ClusterName=onerec
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={home}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool-%n
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/%n.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=15
SchedulerParameters=batch_sched_delay=0,sched_min_interval=1000,bf_interval=1
{nodes}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=train Nodes=ALL Default=YES MaxTime=1:00:00 State=UP GraceTime=20
PartitionName=urgent Nodes=ALL MaxTime=10 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=closed Nodes=node1 MaxTime=10 State=DOWN
"""
"""cred_expire: a job that is requeued starts again after as many seconds, instead of two minutes."""


def main(arguments: list[str]) -> int:
    """Run or stop a cluster; 1 when it does not come up."""
    verb, folder = arguments
    home = Path(folder).resolve()
    if verb == "stop":
        with suppress(FileNotFoundError, ProcessLookupError, ValueError):
            os.kill(int((home / "minislurm.pid").read_text()), signal.SIGTERM)
        return 0
    return _run(home)


def _run(home: Path) -> int:
    _die_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    shutil.rmtree(home, ignore_errors=True)
    (home / "state").mkdir(parents=True)
    (home / "minislurm.pid").write_text(str(os.getpid()))
    (home / "slurm.conf").write_text(_conf(home))
    os.environ["SLURM_CONF"] = str(home / "slurm.conf")
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        daemons.append(_start(home, "munged", *_munge(home)))
        _wait((home / "munge.socket").is_socket)
        daemons.append(_start(home, "slurmctld", "-D"))
        daemons += [_start(home, "slurmd", "-D", "-N", node) for node in NODES]
        if not _wait(_is_idle):
            print(f"the nodes do not come up; see {home}/*.log")
            return 1
        print("ready", flush=True)
        while all(daemon.poll() is None for daemon in daemons):
            time.sleep(0.2)
        print(f"a daemon has ended; see {home}/*.log")
        return 1
    finally:
        _take_down(home, daemons)


def _conf(home: Path) -> str:
    ctld, *ports = _free_ports(1 + len(NODES))
    host, user = socket.gethostname(), pwd.getpwuid(os.getuid()).pw_name
    nodes = "\n".join(
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=4000"
        for node, port in zip(NODES, ports, strict=True)
    )
    return CONF.format(home=home, host=host, user=user, ctld=ctld, nodes=nodes)


def _free_ports(count: int) -> list[int]:
    with_ports = [socket.socket() for _ in range(count)]
    for probe in with_ports:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in with_ports]
    for probe in with_ports:
        probe.close()
    return ports


def _munge(home: Path) -> list[str]:
    key = home / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    names = ("key-file", "socket", "pid-file", "log-file", "seed-file")
    paths = [key, *(home / f"munge.{name}" for name in ("socket", "pid", "log", "seed"))]
    options = [f"--{name}={path}" for name, path in zip(names, paths, strict=True)]
    return ["--foreground", "--force", *options]  # force: a temporary folder is writable by others


def _start(home: Path, program: str, *arguments: str) -> subprocess.Popen[bytes]:
    with (home / f"{program}.out").open("ab") as log:
        return subprocess.Popen(
            [find(program) or program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: _die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - there are no threads
        )


def find(program: str) -> str | None:
    """A daemon on the PATH, or where Debian puts it."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def _is_idle() -> bool:
    told = subprocess.run(
        ["sinfo", "--noheader", "--partition=train", "--format=%D %t"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return told.split() == [str(len(NODES)), "idle"]


def _wait(is_true: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _take_down(home: Path, daemons: list[subprocess.Popen[bytes]]) -> None:
    """End the daemons, and the jobs: slurmstepd and what it started outlive a slurmd."""
    for daemon in reversed(daemons):
        daemon.kill()
        daemon.wait()
    conf = f"SLURM_CONF={home}/slurm.conf".encode()
    for _ in range(20):
        found = [pid for pid in _pids() if conf in _words(pid, "environ") and _is_of_a_job(pid)]
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return
        time.sleep(0.1)


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]


def _is_of_a_job(pid: int) -> bool:
    in_job = any(word.startswith(b"SLURM_JOB_ID=") for word in _words(pid, "environ"))
    return in_job or _words(pid, "cmdline")[0].startswith(b"slurmstepd")


def _words(pid: int, name: str) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().split(b"\0")
    except OSError:
        return [b""]


def _die_with_parent(number: int) -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, number, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
