"""Read a run directory without disturbing it: journal, whether its runner lives, files of each step."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from onerec.errors import ConfigError
from runner.history import History, fold
from runner.journal import read
from runner.lock import age_seconds
from runner.process import is_alive
from runner.status import RunStatus, StepFiles, status

if TYPE_CHECKING:
    from pathlib import Path

    from runner.rundir import RunDir, StepDir

TAIL_BYTES = 1 << 16
POLL_SECONDS = 0.1
LEASE_SECONDS = 60.0
"""A runner on another host counts as gone when it has not renewed its lock for so long."""


def observe(run: RunDir) -> RunStatus:
    """The status of a run as it stands now; raises StorageError for a damaged journal."""
    history = fold(read(run.events))
    files = {step["name"]: read_files(run.step(step["output_dir"])) for step in history.steps}
    return status(history, run=run.name, alive=is_owner_alive(run, history), files=files)


def is_running(run: RunDir) -> bool:
    """Whether a runner works on the run now."""
    return is_owner_alive(run, fold(read(run.events)))


def wait_for_end(run: RunDir, *, timeout_seconds: float) -> None:
    """Return once nothing works on the run; raises ConfigError when that takes too long."""
    deadline = time.monotonic() + timeout_seconds
    while is_running(run):
        if time.monotonic() > deadline:
            raise ConfigError(f"{run.path} still runs after {timeout_seconds:g} s; see runner status")
        time.sleep(POLL_SECONDS)


def is_owner_alive(run: RunDir, history: History) -> bool:
    """Whether the runner that started last still works on the run."""
    owner = history.owner
    if owner is None:
        return False
    if owner["host"] != os.uname().nodename:
        return age_seconds(run.lock) < LEASE_SECONDS
    return is_alive(owner)


def read_files(home: StepDir) -> StepFiles:
    """What the files of one step tell; what is missing or half written tells nothing."""
    latest = None
    with suppress(OSError):
        latest = home.latest.read_text(encoding="utf-8").strip() or None
    return StepFiles(
        progress=read_document(home.progress),
        metrics=_last_row(home.metrics),
        result=read_document(home.result),
        latest_checkpoint=latest,
    )


def read_document(path: Path) -> dict[str, object]:
    """A JSON object; empty where there is none."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _last_row(path: Path) -> dict[str, object]:
    """The last whole row of a file of JSON objects, one a line."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return {}
    for line in reversed(lines):
        with suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict):
                return row
    return {}
