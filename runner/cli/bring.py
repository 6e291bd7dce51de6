"""The verbs that bring a run to its end and stop it: run, resume, stop."""
# ruff: noqa: PLC0415 - heavy parts are imported by the verbs that need them, so that `status` answers at once

from __future__ import annotations

import os
from shlex import quote
from typing import TYPE_CHECKING

from onerec.errors import OneRecError
from runner.cli.options import add_manifest, add_run_dir
from runner.cli.say import complain, is_terminal, say, tell
from runner.rundir import find_run

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from runner.manifest import Manifest
    from runner.request import Request
    from runner.rundir import RunDir
    from runner.slurm.requeue import Verdict

PREFLIGHT_REFUSED, IN_USE = 3, 5


def run_arguments(parser: ArgumentParser) -> None:
    """Options of `run`."""
    add_manifest(parser)
    parser.add_argument(
        "--rerun",
        metavar="STAGE",
        action="append",
        default=[],
        help="run this stage, and all after it, again; what is there now is kept aside; may be repeated",
    )


def run(arguments: Namespace) -> int:
    """Bring the run of a manifest to its end."""
    from runner.compose import run_of
    from runner.manifest import load

    loaded = load(arguments.manifest, arguments.settings)
    return _bring_to_end(
        loaded.manifest,
        run=run_of(loaded.manifest),
        text=loaded.text,
        manifest_dir=str(arguments.manifest.absolute().parent),
        overrides=loaded.overrides,
        rerun=tuple(arguments.rerun),
    )


def resume_arguments(parser: ArgumentParser) -> None:
    """Options of `resume`."""
    add_run_dir(parser)
    parser.add_argument(
        "--requeue",
        action="store_true",
        help="in a job of Slurm: when Slurm tells the job to stop, save and queue the job again",
    )


def resume(arguments: Namespace) -> int:
    """Go on from the run directory's own record."""
    from runner.history import fold
    from runner.journal import read
    from runner.manifest import restore

    run = find_run(arguments.run)
    if arguments.requeue:
        from runner.slurm.submit import wait_for_lock

        wait_for_lock(run)
    history = fold(read(run.events))
    return _bring_to_end(
        restore(run.resolved.read_bytes()),
        run=run,
        text=run.manifest.read_bytes(),
        manifest_dir=history.manifest_dir or "",
        overrides=history.overrides,
        rerun=history.submission.rerun if history.submission else (),
        requeue=arguments.requeue,
    )


def stop_arguments(parser: ArgumentParser) -> None:
    """Options of `stop`."""
    add_run_dir(parser)
    parser.add_argument("--now", action="store_true", help="end at once, without a checkpoint")
    parser.add_argument("--no-wait", action="store_true", help="do not wait until the run has ended")
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=600.0, help="longest wait")


def stop(arguments: Namespace) -> int:
    """Stop a run at the next step boundary."""
    from runner.observe import is_running, wait_for_end
    from runner.slurm.ask import cancel
    from runner.slurm.submit import waiting_job
    from runner.stop import CLEANLY, NOW, ask_to_stop

    run = find_run(arguments.run)
    go_on = f"go on with: runner resume {quote(str(run.path))}"
    if not is_running(run):
        job = waiting_job(run)
        if job is None:
            say(f"{run.path}: nothing runs")
            return 0
        cancel(job)
        say(f"{run.path}: job {job} had not begun, and is cancelled; {go_on}")
        return 0
    ask_to_stop(run.stop_file, by="runner stop", level=NOW if arguments.now else CLEANLY)
    if arguments.no_wait:
        say(f"{run.path}: asked to stop; {go_on}")
        return 0
    wait_for_end(run, timeout_seconds=arguments.timeout)
    say(f"{run.path}: stopped; {go_on}")
    return 0


def _bring_to_end(
    manifest: Manifest,
    *,
    run: RunDir,
    text: bytes,
    manifest_dir: str,
    overrides: tuple[str, ...],
    rerun: tuple[str, ...],
    requeue: bool = False,
) -> int:
    """Preflight, then everything that is left; returns the exit code of the run."""
    from runner.compose import request_of
    from runner.console import closing_text, listening
    from runner.execute import execute
    from runner.slurm.submit import is_submitted

    left_out = _may_start(manifest)
    if left_out is None:
        return PREFLIGHT_REFUSED
    request = request_of(
        manifest,
        run,
        text=text,
        manifest_dir=manifest_dir,
        overrides=overrides,
        rerun=rerun,
        left_out=left_out,
        env=os.environ,
    )
    if is_submitted(manifest.cluster, os.environ):
        return _submit(request)
    tell(f"run {run.name} in {run.path}")
    try:
        with listening(run, tell, is_terminal=is_terminal()) as listener:
            code = execute(request, listener=listener)
        tell(closing_text(run))
        verdict = _queue_again(run, code) if requeue else None
    except OneRecError as fault:
        if fault.exit_code != IN_USE:  # else the run goes on, under another runner
            _notify(run, manifest, code=fault.exit_code, reason=str(fault))
        raise
    if verdict is None or not verdict.is_requeued:
        _notify(run, manifest, code=verdict.exit_code if verdict else code)
    return verdict.exit_code if verdict else code


def _notify(run: RunDir, manifest: Manifest, *, code: int, reason: str | None = None) -> None:
    """Tell the command of [notify] that the run has ended."""
    if manifest.notify.command:
        from runner.notify import notify

        complaint = notify(run, manifest.notify, code=code, reason=reason)
        if complaint:
            complain(complaint)


def _submit(request: Request) -> int:
    """Have a job of Slurm do what is left."""
    from runner.slurm.submit import submit

    run, job = request.plan.run, submit(request)
    if job is None:
        tell(f"run {run.name} in {run.path}: all is done, nothing was submitted")
        return 0
    path = quote(str(run.path))
    tell(
        f"run {run.name} in {run.path}: submitted as job {job} of Slurm\n"
        f"  watch it:    runner status {path} --watch, once it has begun runner logs {path} -f\n"
        f"  stop it:     runner stop {path}\n"
        f"  its output:  {run.job_log}"
    )
    return 0


def _queue_again(run: RunDir, code: int) -> Verdict | None:
    """In a job of Slurm that was stopped: queue it again unless a person stopped it; None: it ended."""
    from runner.slurm.requeue import queue_again

    verdict = queue_again(run, code=code, env=os.environ)
    if verdict is not None:
        tell(verdict.text)
    return verdict


def _may_start(manifest: Manifest) -> frozenset[str] | None:
    """The hosts that an elastic run is started without; None where nothing may be started."""
    from runner.preflight import check
    from runner.preflight.hosts import check_hosts

    hosts = check_hosts(manifest, env=os.environ)
    findings = (*check(manifest), *hosts.findings)
    for finding in findings:
        complain(str(finding))
    if any(finding.level == "error" for finding in findings):
        complain("nothing was started")
        return None
    return hosts.left_out
