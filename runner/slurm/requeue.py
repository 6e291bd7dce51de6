"""Whether a job that was stopped is queued again, so that the run goes on by itself; and queueing it.

Only a stop that Slurm asked for is followed by another try, and only while the job brings the run forward.
"""

from __future__ import annotations

import signal
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.journal import Journal, read
from runner.lock import hold
from runner.observe import observe, read_document
from runner.report import counted
from runner.slurm import ask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.journal import Event
    from runner.rundir import RunDir
    from runner.status import RunStatus

STOPPED, NO_PROGRESS = 75, 7
TRIES = 3
"""So many jobs in a row may end at the same point."""


@dataclass(frozen=True)
class Verdict:
    """Whether the job is queued again, what to tell, and what it ends with."""

    is_requeued: bool
    text: str
    exit_code: int


def queue_again(run: RunDir, *, code: int, env: Mapping[str, str]) -> Verdict | None:
    """Queue the job of this process again if it may be; None when it ended by itself.

    Raises SlurmError when Slurm refuses.
    """
    job = env.get("SLURM_JOB_ID")
    if job is None or code != STOPPED:
        return None
    reached = reached_by(observe(run))
    asked_by = read_document(run.stop_file).get("by", "signal")
    found = verdict(
        job, asked_by=str(asked_by), state=ask.job_state(job), reached=reached, events=read(run.events)
    )
    if found.is_requeued:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the job ends with it, once this is written down
        with hold(run.lock), closing(Journal(run.events)) as journal:
            ask.requeue(job)
            journal.append("requeued", job=job, reached=reached)
    return found


def verdict(job: str, *, asked_by: str, state: str | None, reached: str, events: Sequence[Event]) -> Verdict:
    """What becomes of a job that was stopped: pure.

    A job that was cancelled, or is at its end anyway, is not RUNNING any more while it saves.
    """
    if asked_by != "signal":
        return Verdict(False, f"stopped by {asked_by}: job {job} is not queued again", STOPPED)
    if state != "RUNNING":
        return Verdict(
            False, f"job {job} is {state or 'over'}: it is not queued again, unless by Slurm itself", STOPPED
        )
    before = [str(event["reached"]) for event in events if event["event"] == "requeued"]
    if before[-(TRIES - 1) :] == [reached] * (TRIES - 1):
        text = (
            f"{TRIES} jobs in a row ended at the same point ({reached}): job {job} is not queued again; "
            "raise cluster.slurm.time, or save more often"
        )
        return Verdict(False, text, NO_PROGRESS)
    return Verdict(True, f"job {job} is queued again, and goes on from {reached}", STOPPED)


def reached_by(status: RunStatus) -> str:
    """How far a run has come, in words that differ when it has come further."""
    left = [stage for stage in status["stages"] if stage["state"] != "done"]
    done = f"{counted(len(status['stages']) - len(left), 'step')} done"
    if not left:
        return done
    return f"{done}, {left[0]['name']} at {left[0]['latest_checkpoint'] or 'its start'}"
