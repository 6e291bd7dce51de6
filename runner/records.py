"""What a run writes about itself: manifest, environment, start, and the orders of each attempt."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from onerec.config import dump_config
from onerec.progress import sync_directory, write_json_atomically
from runner import environment
from runner.launch.script import script
from runner.launch.values import Command, Toolchain
from runner.observe import read_document
from runner.process import identify
from runner.redact import redacted_words
from runner.rundir import StepDir

if TYPE_CHECKING:
    from runner.journal import Journal
    from runner.request import Request
    from runner.rundir import RunDir
    from runner.steps import Step


def adopt(request: Request) -> None:
    """Make the run directory that of this manifest; a manifest that differs is kept under a number."""
    run = request.plan.run
    run.path.mkdir(parents=True, exist_ok=True)
    if run.manifest.exists() and run.manifest.read_bytes() != request.manifest_text:
        run.manifest.rename(run.older_manifest())
    _write_text(run.manifest, request.manifest_text)
    _write_text(run.resolved, request.resolved_text.encode())
    write_json_atomically(run.environment, environment.describe(request.env))
    link = run.newest.with_name(f".{run.newest.name}.{os.getpid()}.tmp")
    link.symlink_to(run.name)
    link.replace(run.newest)


def record_start(request: Request, journal: Journal) -> None:
    """Write down who starts, with what, where, and which steps there are."""
    found = read_document(request.plan.run.environment)  # its file holds only the newest start
    owner = identify(os.getpid())
    argv = redacted_words(sys.argv)
    journal.append("run_started", owner=owner, argv=argv, environment=found, **_asked_for(request))


def record_submission(request: Request, journal: Journal, *, job: str) -> None:
    """Write down which job is to go on with the run, and all that it will need to know for that."""
    journal.append("submitted", job=job, rerun=list(request.rerun), **_asked_for(request))


def _asked_for(request: Request) -> dict[str, object]:
    plan = request.plan
    return {
        "manifest_dir": request.manifest_dir,
        "overrides": redacted_words(request.overrides),
        "steps": [
            {
                "name": step.name,
                "kind": step.kind,
                "stage": step.stage,
                "folder": plan.run.inside(step.folder),
                "output_dir": plan.run.inside(step.output_dir),
            }
            for step in plan.steps
        ],
    }


def write_orders(
    step: Step,
    home: StepDir,
    commands: tuple[Command, ...],
    *,
    tools: Toolchain,
    number: int,
    run: RunDir,
) -> None:
    """Write config.json and command.sh, and take away what an earlier attempt would be mistaken for."""
    home.logs(number).mkdir(parents=True, exist_ok=True)
    StepDir(Path(step.output_dir)).result.unlink(missing_ok=True)
    home.rendezvous(number).unlink(missing_ok=True)
    _write_text(home.config, dump_config(step.config).encode())
    removed = (home.rendezvous(number), run.stop_file, run.lease)
    title = f"Step {step.name}, attempt {number}"
    text = script(commands, title=title, tools=tools, removed=removed)
    _write_text(home.command, text.encode())
    home.command.chmod(0o755)


def _write_text(path: Path, text: bytes) -> None:
    """Replace a file as a whole, on the disk before this returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)
