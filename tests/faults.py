"""Faults of the world, injected into a run of the real trainer from outside: whom to hit, and how."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from runner.rundir import RunDir
from tests.tiny_run import environment

FAULTS = ("runner", "launcher", "shim", "trainer", "worker", "freeze", "terminate", "stop", "tear")


class Processes:
    """The living processes of a run, by what they are."""

    def __init__(self, folder):
        self.runner, self.launchers, self.shims, self.trainers, self.workers = [], [], [], [], []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                line = (entry / "cmdline").read_bytes().decode().split("\0")
                env = (entry / "environ").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if (
                state == "Z"
                or f"PWD={folder}\0".encode() not in env + b"\0"
                or int(entry.name) == os.getpid()
            ):
                continue
            self._sort(int(entry.name), " ".join(line))

    def _sort(self, pid, line):
        if "multiprocessing.forkserver" in line or "multiprocessing.spawn" in line:
            self.workers.append(pid)
        elif "torchrun" in line or "mpirun" in line:  # whose arguments name the shim and the trainer too
            self.launchers.append(pid)
        elif "runner.rank" in line:
            self.shims.append(pid)
        elif "-m onerec" in line:
            self.trainers.append(pid)
        elif "-m runner " in line:
            self.runner.append(pid)


def start(folder, manifest):
    """The runner's main command, left running; PWD marks the run's processes."""
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "runner", str(manifest)],
            cwd=folder,
            env={**environment(folder), "PWD": str(folder)},
            stdout=output,
            stderr=output,
        )


def inject(fault, folder, process, pick):
    """Let one fault happen; false when nothing was there to be hit."""
    found = Processes(folder)
    if fault == "terminate":
        process.terminate()
    elif fault == "stop":
        subprocess.run(
            [sys.executable, "-m", "runner", "stop", "--no-wait"],
            cwd=folder,
            env=environment(folder),
            capture_output=True,
            check=False,
        )
    elif fault == "tear":
        return _tear(folder, process)
    else:
        victims = {
            "runner": [process.pid],
            "launcher": found.launchers,
            "shim": found.shims,
            "trainer": found.trainers,
            "worker": found.workers,
            "freeze": found.trainers,
        }[fault]
        if not victims:
            return False
        return _signal(pick.choice(victims), signal.SIGSTOP if fault == "freeze" else signal.SIGKILL)
    return True


def _signal(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _tear(folder, process):
    """Kill the runner, and leave half an event, as when it is killed while it writes one."""
    process.kill()
    process.wait()
    events = RunDir(folder / "runs/tiny").events
    if events.exists():
        with events.open("ab") as file:
            file.write(b'{"attempt":1,"crc":"00')
    return True


def await_nothing_left(folder, *, seconds=10):
    """Wait until no process of the run lives; its command lines are the failure."""
    deadline = time.monotonic() + seconds
    while True:
        left = vars(Processes(folder))
        if not any(left.values()):
            return
        assert time.monotonic() < deadline, f"still alive after {seconds} s: {left}"
        time.sleep(0.1)
