"""The verbs of the runner and their exit codes; the only file that prints.

Heavy parts are imported by the verbs that need them, so that `status` answers at once.
"""
# ruff: noqa: PLC0415 - see above

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING

from onerec.errors import OneRecError
from runner.arguments import overview, parse
from runner.rundir import RunDir, find_run

if TYPE_CHECKING:
    from argparse import Namespace

    from runner.manifest import Manifest

UNHEALTHY, PREFLIGHT_REFUSED, STORAGE, INTERRUPTED = 1, 3, 9, 130
WATCH_SECONDS = 2.0


def main() -> None:
    """Entry point: the process ends with one of the documented exit codes."""
    arguments = parse(sys.argv[1:])
    if arguments is None:
        _say(overview())
        return
    if arguments.traceback:
        os.environ["RUNNER_TRACEBACK"] = "1"
    try:
        sys.exit(VERBS[arguments.verb](arguments))
    except OneRecError as fault:
        if arguments.traceback:
            raise
        _complain(f"error: {fault}")
        sys.exit(fault.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # whoever read has seen enough, such as `head`
        _stop_printing()
    except OSError as fault:
        if arguments.traceback:
            raise
        _complain(f"error: {fault}; mend the disk or the path, then start again")
        sys.exit(STORAGE)


def run_verb(arguments: Namespace) -> int:
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


def resume_verb(arguments: Namespace) -> int:
    """Go on from the run directory's own record."""
    from runner.history import fold
    from runner.journal import read
    from runner.manifest import restore

    run = find_run(arguments.run)
    history = fold(read(run.events))
    return _bring_to_end(
        restore(run.resolved.read_bytes()),
        run=run,
        text=run.manifest.read_bytes(),
        manifest_dir=history.manifest_dir or "",
        overrides=history.overrides,
        rerun=(),
    )


def plan_verb(arguments: Namespace) -> int:
    """Show every step; start nothing."""
    from runner.compose import view
    from runner.manifest import load
    from runner.plan_report import plan_document, plan_text

    found = view(load(arguments.manifest, arguments.settings).manifest, env=os.environ)
    _say(_json(plan_document(found)) if arguments.as_json else plan_text(found))
    return 0


def check_verb(arguments: Namespace) -> int:
    """Look for everything that would keep the run from starting."""
    from runner.inspection import inspect
    from runner.inspection_text import check_text
    from runner.manifest import load
    from runner.memories import memories_of
    from runner.preflight import check
    from runner.preflight.memory import memory_figures

    loaded = load(arguments.manifest, arguments.settings)
    findings = check(loaded.manifest)
    if not arguments.fast:
        findings += tuple(memory_figures(memories_of(loaded.manifest, env=os.environ)))
        findings += inspect(loaded, findings, env=os.environ)
    _say(_json([vars(finding) for finding in findings]) if arguments.as_json else check_text(findings))
    return PREFLIGHT_REFUSED if any(finding.level == "error" for finding in findings) else 0


def status_verb(arguments: Namespace) -> int:
    """Show how far a run is, once or until it has ended."""
    from runner.observe import observe
    from runner.report import status_text

    run = find_run(arguments.run)
    while True:
        status = observe(run)
        clear = "\x1b[H\x1b[2J" if arguments.watch and sys.stdout.isatty() else ""
        _say(clear + (_json(status) if arguments.as_json else status_text(status)))
        if not arguments.watch or status["state"] != "running":
            return 0
        time.sleep(WATCH_SECONDS)


def convert_verb(arguments: Namespace) -> int:
    """Write one checkpoint as a Hugging Face folder."""
    from runner.on_demand import Export, convert, convert_outside

    export = Export(arguments.dtype, arguments.max_shard_gigabytes)
    outside = (arguments.source, arguments.model_dir, arguments.output)
    if any(path is not None for path in outside):
        code, folder = convert_outside(*outside, step=arguments.step, export=export, env=os.environ)
    else:
        run = find_run(arguments.run)
        code, folder = convert(run, step=arguments.step, stage=arguments.stage, export=export, env=os.environ)
    if code == 0:
        _say(f"converted: {folder}")
    return code


def test_model_verb(arguments: Namespace) -> int:
    """Tell whether a Hugging Face folder is sound."""
    from runner.on_demand import examine
    from runner.report import report_lines

    code, result = examine(
        arguments.model_dir,
        cases=arguments.cases,
        max_new_tokens=arguments.max_new_tokens,
        device=arguments.device,
        env=os.environ,
    )
    if result:  # a wrong call has none, and was told
        _say(_json(result) if arguments.as_json else "\n".join(report_lines(result)))
    return code


def preview_verb(arguments: Namespace) -> int:
    """Show samples of a dataset as they are trained."""
    from runner.manifest import load
    from runner.preview import preview
    from runner.preview_view import preview_text

    loaded = load(arguments.manifest, arguments.settings)
    code, found = preview(loaded, dataset=arguments.dataset, samples=arguments.samples, env=os.environ)
    if code == 0:
        has_styles = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        _say(json.dumps(found["packs"]) if arguments.as_json else preview_text(found, has_styles=has_styles))
    return code


def shard_verb(arguments: Namespace) -> int:
    """Merge parquet trees and split them into files of equal numbers of rows."""
    from runner.on_demand import shard

    return shard(
        arguments.sources,
        output=arguments.output,
        rows_per_file=arguments.rows_per_file,
        max_reject_fraction=arguments.max_reject_fraction,
        env=os.environ,
    )


def logs_verb(arguments: Namespace) -> int:
    """Show what a stage wrote."""
    from runner.follow import logs_of, read_logs

    run = find_run(arguments.run)
    paths = logs_of(run, stage=arguments.stage, rank=arguments.rank)
    for text in read_logs(paths, run=run, follow=arguments.follow):
        sys.stdout.write(text)
        sys.stdout.flush()
    return 0


def stop_verb(arguments: Namespace) -> int:
    """Stop a run at the next step boundary."""
    from runner.observe import is_running, wait_for_end
    from runner.stop import ask_to_stop

    run = find_run(arguments.run)
    if not is_running(run):
        _say(f"{run.path}: nothing runs")
        return 0
    ask_to_stop(run.stop_file, by="runner stop")
    go_on = f"go on with: runner resume {run.path}"
    if arguments.no_wait:
        _say(f"{run.path}: asked to stop; {go_on}")
        return 0
    wait_for_end(run, timeout_seconds=arguments.timeout)
    _say(f"{run.path}: stopped; {go_on}")
    return 0


def doctor_verb(arguments: Namespace) -> int:
    """Check a run directory from outside."""
    from runner.doctor import examine
    from runner.doctor.report import diagnosis_text

    diagnosis = examine(find_run(arguments.run, may_lack_journal=True), fast=arguments.fast)
    _say(_json(diagnosis.document()) if arguments.as_json else diagnosis_text(diagnosis))
    return 0 if diagnosis.healthy else UNHEALTHY


VERBS = {
    "run": run_verb,
    "plan": plan_verb,
    "check": check_verb,
    "status": status_verb,
    "resume": resume_verb,
    "convert": convert_verb,
    "test-model": test_model_verb,
    "preview": preview_verb,
    "shard": shard_verb,
    "logs": logs_verb,
    "stop": stop_verb,
    "doctor": doctor_verb,
}


def _bring_to_end(
    manifest: Manifest,
    *,
    run: RunDir,
    text: bytes,
    manifest_dir: str,
    overrides: tuple[str, ...],
    rerun: tuple[str, ...],
) -> int:
    """Preflight, then everything that is left; returns the exit code of the run."""
    from runner.compose import request_of
    from runner.console import closing_text, listening
    from runner.execute import execute

    if not _may_start(manifest):
        return PREFLIGHT_REFUSED
    request = request_of(
        manifest, run, text=text, manifest_dir=manifest_dir, overrides=overrides, rerun=rerun, env=os.environ
    )
    _tell(f"run {run.name} in {run.path}")
    with listening(run, _tell, is_terminal=sys.stdout.isatty()) as listener:
        code = execute(request, listener=listener)
    _tell(closing_text(run))
    return code


def _may_start(manifest: Manifest) -> bool:
    from runner.preflight import check

    findings = check(manifest)
    for finding in findings:
        _complain(str(finding))
    if any(finding.level == "error" for finding in findings):
        _complain("nothing was started")
        return False
    return True


def _json(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _tell(text: str) -> None:
    """Print while a run is at work; a reader that has gone away stops the printing, not the run."""
    try:
        _say(text)
    except BrokenPipeError:
        _stop_printing()


def _stop_printing() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
