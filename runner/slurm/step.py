"""Run one srun and leave none of its tasks behind: `python -m runner.slurm.step NAME -- srun ...`.

The tasks are children of Slurm's daemons, which let them go on when srun is killed. So their step is killed
by its name: once srun has ended, when the parent of this process dies, and, where an earlier attempt of the
same run left one, before the start.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

from runner.process import die_with_parent
from runner.slurm.ask import SlurmError, kill_steps

WRONG_CALL = 2
POLL_SECONDS = 0.1
SRUN_SECONDS = 3.0
"""How long srun may take to kill its tasks, before it is killed itself."""
STEP_SECONDS = 30.0
"""How long Slurm may take to kill a step."""


def main(arguments: list[str]) -> int:
    """Run srun to its end; returns its exit code, 128 + n when signal n ended it."""
    name, _, *argv = arguments
    job, parent = os.environ.get("SLURM_JOB_ID"), os.getppid()
    if job is None:
        _warn("no SLURM_JOB_ID; run it inside of a job of Slurm, such as salloc starts")
        return WRONG_CALL
    die_with_parent(0)  # instead of at once: its end is seen below, and the step is killed first
    if os.getppid() != int(os.environ.get("RUNNER_PID", parent)):
        return WRONG_CALL
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, lambda *_: None)  # srun gets it too, and kills the step: then this ends
    run = name.rpartition(".")[2]
    _kill(job, ending=f".{run}")
    code = _run(argv, parent=parent)
    _kill(job, ending=name)
    return code


def _run(argv: list[str], *, parent: int) -> int:
    child = subprocess.Popen([sys.executable, "-m", "runner.tether", str(os.getpid()), "--", *argv])
    while child.poll() is None:
        if os.getppid() != parent:
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(SRUN_SECONDS)
            child.kill()
        time.sleep(POLL_SECONDS)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _kill(job: str, *, ending: str) -> None:
    try:
        gone = kill_steps(job, named=lambda name: name.endswith(ending), within_seconds=STEP_SECONDS)
    except SlurmError as fault:
        _warn(str(fault))
        return
    if not gone:
        _warn(f"a step named *{ending} of job {job} is still there; see squeue --steps --jobs={job}")


def _warn(text: str) -> None:
    """A line in the step's stderr.log."""
    os.write(2, f"{text}\n".encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
