"""Read a run directory without disturbing it: journal, whether its runner lives, files of each step."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from onerec.errors import ConfigError
from runner.curves import course, finite, tail_rows
from runner.history import History, fold
from runner.journal import read
from runner.owner import is_at_work, look
from runner.rundir import STEP_FOLDER
from runner.status import RunStatus, StepFiles, status
from runner.story import Story, tell

if TYPE_CHECKING:
    from pathlib import Path

    from runner.history import PlannedStep
    from runner.rundir import RunDir, StepDir

POLL_SECONDS = 0.1
CURVE_POINTS = 24
COPY_SECONDS = 5.0
"""A journal whose file is that much older or newer than its last event was copied, or the clock was moved."""


def observe(run: RunDir) -> RunStatus:
    """The status of a run as it stands now; raises StorageError for a damaged journal."""
    events = read(run.events)
    history, story = fold(events), tell(events)
    trusted = tells_times(run, story)
    files = {
        step["name"]: _files_of(run, step, history=history, story=story, trusted=trusted)
        for step in history.steps
    }
    return status(
        history,
        run=run.name,
        alive=is_owner_alive(run, history),
        files=files,
        story=story,
        lock_time=_time_of(run.lock) if trusted else None,
    )


def is_running(run: RunDir) -> bool:
    """Whether a runner works on the run now."""
    return is_owner_alive(run, fold(read(run.events)))


def is_waiting(run: RunDir) -> bool:
    """Whether a job that is to go on with the run has not begun."""
    submission = fold(read(run.events)).submission
    return submission is not None and submission.is_queued


def wait_for_end(run: RunDir, *, timeout_seconds: float) -> None:
    """Return once nothing works on the run; raises ConfigError when that takes too long."""
    deadline = time.monotonic() + timeout_seconds
    while is_running(run):
        if time.monotonic() > deadline:
            raise ConfigError(f"{run.path} still runs after {timeout_seconds:g} s; see runner status")
        time.sleep(POLL_SECONDS)


def is_owner_alive(run: RunDir, history: History) -> bool:
    """Whether the runner that started last still works on the run."""
    return history.owner is not None and is_at_work(history.owner, look(history.owner, run.lock))


def read_files(home: StepDir) -> StepFiles:
    """What the files of one step tell; what is missing or half written tells nothing."""
    latest = None
    with suppress(OSError):
        latest = home.latest.read_text(encoding="utf-8").strip() or None
    return StepFiles(
        progress=read_document(home.progress),
        metrics=_last_row(home.metrics),
        validation=_last_row(home.validation),
        hit_rate=_last_row(home.hit_rates),
        result=read_document(home.result),
        latest_checkpoint=latest,
        loss_curve=tuple(course(home.metrics, "loss", points=CURVE_POINTS)),
    )


def read_document(path: Path) -> dict[str, object]:
    """A JSON object; empty where there is none."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _files_of(run: RunDir, step: PlannedStep, *, history: History, story: Story, trusted: bool) -> StepFiles:
    """All that the files of a step tell; times of files only where they can be `trusted`."""
    home, logs = run.step(step["output_dir"]), run.step(step["folder"])
    told = history.step(step["name"])
    if told.state in {"pending", "stale"}:
        return StepFiles()
    files = read_files(home)
    beats = [read_document(path) for path in logs.heartbeats(told.attempts).values()]
    newest = max(beats, key=lambda beat: finite(beat.get("time")) or 0.0, default={})
    failed = [one.number for one in story.of(step["name"]) if one.state == "failed"]
    saved = STEP_FOLDER.fullmatch(files.latest_checkpoint or "")
    return StepFiles(
        **{
            **vars(files),
            "progress_time": _time_of(home.progress) if trusted else None,
            "checkpoint_time": _time_of(home.commit_record(int(saved[1]))) if saved and trusted else None,
            "beat": newest,
            "failure": read_document(logs.failure(failed[-1])) if failed else {},
        }
    )


def tells_times(run: RunDir, story: Story) -> bool:
    """Whether times of files are those at which the run wrote them, and not those of a copy."""
    written = _time_of(run.events)
    return written is not None and story.last is not None and abs(written - story.last) < COPY_SECONDS


def _time_of(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _last_row(path: Path) -> dict[str, object]:
    """The last whole row of a file of JSON objects, one a line."""
    rows = tail_rows(path)
    return dict(rows[-1]) if rows else {}
