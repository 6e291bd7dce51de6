"""Hand a run to Slurm: write its script, submit it, and record the job; never two jobs for one run.

What is submitted goes on with the run from its directory: the manifest as it was then is what runs.
"""

from __future__ import annotations

import time
from contextlib import closing
from shlex import quote
from typing import TYPE_CHECKING

from onerec.errors import DriftError
from runner.decide import decide, drift_message
from runner.execute import find_facts
from runner.history import fold
from runner.journal import Journal, read
from runner.lock import RunInUseError, hold
from runner.records import adopt, record_submission
from runner.slurm import ask
from runner.slurm.script import job_options, job_script, submission_env

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.history import Submission
    from runner.manifest.tables import Cluster
    from runner.request import Request
    from runner.rundir import RunDir

LOCK_SECONDS = 120.0
"""How long the lock of a host that died may stay, before a job gives up."""


def is_submitted(cluster: Cluster, env: Mapping[str, str]) -> bool:
    """Whether starting the run means to submit a job: outside of one."""
    return cluster.launcher == "slurm" and "SLURM_JOB_ID" not in env


def submit(request: Request) -> str | None:
    """Submit the run; returns the id of the job, None when nothing is left to do.

    Raises RunInUseError while a runner or an earlier job has the run, DriftError when finished work was made
    from other settings, SlurmError when Slurm refuses; nothing is submitted then.
    """
    run = request.plan.run
    with hold(run.lock):
        history = fold(read(run.events))
        _refuse_second(run, history.submission)
        decisions = decide(request.plan, history, find_facts(request.plan, history), rerun=request.rerun)
        drift = drift_message(decisions, run=str(run.path))
        if drift is not None:
            raise DriftError(drift)
        if all(decision.action == "skip" for decision in decisions):
            return None
        adopt(request)
        run.job_script.write_text(job_script(request.cluster, run=run, tools=request.tools), encoding="utf-8")
        options = job_options(request.cluster, run=run)
        with closing(Journal(run.events)) as journal:
            job = ask.submit(run.path, run.job_script.name, env=submission_env(request.env, options))
            record_submission(request, journal, job=job)
    return job


def waiting_job(run: RunDir) -> str | None:
    """The job that is to go on with a run and has not begun to; None for none."""
    submission = fold(read(run.events)).submission
    if submission is None or not submission.is_queued or ask.job_state(submission.job) is None:
        return None
    return submission.job


def wait_for_lock(run: RunDir) -> None:
    """Return once the run is free; raises RunInUseError when it is not in time.

    Who submitted the job may still be writing that down, and a host that died may still seem to hold it.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            with hold(run.lock):
                return
        except RunInUseError:
            if time.monotonic() > deadline:
                raise
        time.sleep(ask.POLL_SECONDS)


def _refuse_second(run: RunDir, submission: Submission | None) -> None:
    state = None if submission is None else ask.job_state(submission.job)
    if submission is not None and state is not None:
        raise RunInUseError(
            f"{run.path} is in use: job {submission.job} of Slurm is {state}; "
            f"see runner status, or end it with: runner stop {quote(str(run.path))}"
        )
