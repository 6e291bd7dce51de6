"""Tools of these tests: change a record of a run as a fault would, and say what the doctor finds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onerec.checkpoint import commit
from runner.doctor import examine
from runner.journal import Journal, read
from runner.process import Identity, identify
from runner.rundir import RunDir

Told = list[tuple[str, str]]


def findings(run: RunDir, *, fast: bool = False, least: str = "warning") -> Told:
    """Level and place of what is found, errors and warnings; with `least="info"` everything."""
    levels = ("error", "warning", "info")
    wanted = levels[: levels.index(least) + 1]
    return [(one.level, one.place) for one in examine(run, fast=fast).findings if one.level in wanted]


def told(run: RunDir, place: str) -> str:
    """Text and remedy of the only finding at a place."""
    (found,) = [one for one in examine(run).findings if one.place == place]
    return f"{found.text}; {found.remedy}"


def change(path: Path, edit: Callable[[Any], Any]) -> None:
    """Edit a JSON file in place."""
    document = json.loads(path.read_bytes())
    edit(document)
    path.write_text(json.dumps(document))


def change_state(run: RunDir, stage: str, step: int, edit: Callable[[Any], Any]) -> str:
    """Edit a trainer.json and make its digest fit, as a fault of the trainer would; returns its place."""
    path = run.stage(stage).trainer_state(step)
    change(path, edit)
    seal(run, stage, step)
    return run.inside(str(path))


def seal(run: RunDir, stage: str, step: int) -> None:
    """Give the files of a checkpoint, as they are now, their digests and sizes."""
    folder = run.stage(stage).checkpoint(step)
    mark = run.stage(stage).commit_record(step)
    facts = commit.facts_of(folder, [path for path in commit.files_in(folder) if is_its_own(path, mark)])
    record = {
        "step": step,
        "sha256": {name: fact.sha256 for name, fact in facts.items()},
        "bytes": {name: fact.size for name, fact in facts.items()},
    }
    mark.write_text(json.dumps(record))


def is_its_own(path: Path, mark: Path) -> bool:
    return path != mark and "converted" not in str(path)


def rewrite(run: RunDir, edit: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Write the journal anew with edited events; checksums and numbers fit."""
    events = edit([dict(event) for event in read(run.events)])
    run.events.unlink()
    journal = Journal(run.events)
    for event in events:
        kind = event.pop("event")
        seq_and_time = {"seq", "time"} & event.keys()
        journal.append(kind, **{key: value for key, value in event.items() if key not in seq_and_time})
    journal.close()


def dead() -> Identity:
    """Identity of a process that has ended."""
    process = subprocess.Popen(["sleep", "100"])
    identity = identify(process.pid)
    process.kill()
    process.wait()
    return identity
