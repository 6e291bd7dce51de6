"""What the page tells, read from a run directory without disturbing it; missing files tell nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runner.curves import read_rows
from runner.history import History, fold
from runner.journal import read
from runner.observe import observe, read_document, tells_times
from runner.page.charts import Columns, columns_of
from runner.story import Story, tell

if TYPE_CHECKING:
    from runner.history import PlannedStep
    from runner.rundir import RunDir, StepDir
    from runner.status import RunStatus

MOST_TEXT = 200_000
"""Characters of a manifest or command that are shown."""
TAIL_LINES = 12


@dataclass(frozen=True)
class Checkpoint:
    """One complete checkpoint that is still there."""

    step: int
    size: int
    """Bytes."""
    saved: float | None
    """When, in seconds since the epoch; None where its files may be copies."""
    formats: tuple[str, ...]
    """Number formats in which it stands as a Hugging Face folder."""


@dataclass(frozen=True)
class StepRecord:
    """Everything that the folder of one step has for the page."""

    step: PlannedStep
    result: Mapping[str, object]
    summary: Mapping[str, object]
    """Counts of a prepared dataset."""
    training: Columns
    validation: Columns
    hit_rates: Columns
    best_step: int | None
    """The checkpoint with the best hit rate, where one was looked for."""
    checkpoints: tuple[Checkpoint, ...]
    set_aside: tuple[str, ...]
    """Checkpoints that were found damaged, and folders of earlier work that were set aside."""
    command: str
    last_words: Mapping[int, tuple[str, ...]]
    """Last lines of each attempt that failed."""
    failures: Mapping[int, Mapping[str, object]]
    """failure.json of each attempt that has one."""


@dataclass(frozen=True)
class Record:
    """A run as its directory tells it."""

    path: Path
    status: RunStatus
    history: History
    story: Story
    steps: tuple[StepRecord, ...]
    environment: Mapping[str, object]
    manifest: str
    resolved: Mapping[str, object]
    older_manifests: tuple[str, ...]


def gather(run: RunDir) -> Record:
    """Read a run; raises StorageError for a damaged journal."""
    events = read(run.events)
    history, story = fold(events), tell(events)
    trusted = tells_times(run, story)
    return Record(
        path=run.path,
        status=observe(run),
        history=history,
        story=story,
        steps=tuple(
            _step_record(run, step, history=history, story=story, trusted=trusted) for step in history.steps
        ),
        environment=read_document(run.environment),
        manifest=text_of(run.manifest),
        resolved=read_document(run.resolved),
        older_manifests=tuple(text_of(path) for path in run.older_manifests()),
    )


def text_of(path: Path) -> str:
    """The text of a file, as far as it is shown; empty where there is none."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(MOST_TEXT)
    except OSError:
        return ""


def _step_record(
    run: RunDir, step: PlannedStep, *, history: History, story: Story, trusted: bool
) -> StepRecord:
    home, logs = run.step(step["output_dir"]), run.step(step["folder"])
    is_told = history.step(step["name"]).state not in {"pending", "stale"}
    is_training = step["kind"] == "train" and is_told
    failed = [one.number for one in story.of(step["name"]) if one.state == "failed"]
    failures = {number: read_document(logs.failure(number)) for number in failed}
    return StepRecord(
        step=step,
        result=read_document(home.result) if is_told else {},
        summary=read_document(home.summary) if step["kind"] == "prepare" and is_told else {},
        training=columns_of(read_rows(home.metrics)) if is_training else Columns(),
        validation=columns_of(read_rows(home.validation)) if is_training else Columns(),
        hit_rates=columns_of(read_rows(home.hit_rates)) if is_training else Columns(),
        best_step=_best_step(home) if is_training else None,
        checkpoints=tuple(_checkpoints(home, trusted=trusted)) if is_training else (),
        set_aside=tuple(path.name for path in home.quarantined_checkpoints()) if is_training else (),
        command=text_of(logs.command) if is_told else "",
        last_words={number: _last_words(logs, failures[number]) for number in failed},
        failures=failures,
    )


def _best_step(home: StepDir) -> int | None:
    step = read_document(home.best).get("step")
    return step if isinstance(step, int) and not isinstance(step, bool) else None


def _checkpoints(home: StepDir, *, trusted: bool) -> Iterator[Checkpoint]:
    for step in home.checkpoints():
        sizes = read_document(home.commit_record(step)).get("bytes")
        known = [size for size in sizes.values() if isinstance(size, int)] if isinstance(sizes, dict) else []
        yield Checkpoint(
            step=step,
            size=sum(known),
            saved=_time_of(home, step) if trusted else None,
            formats=tuple(home.converted_formats(step)),
        )


def _time_of(home: StepDir, step: int) -> float | None:
    try:
        return home.commit_record(step).stat().st_mtime
    except OSError:  # pruned meanwhile
        return None


def _last_words(logs: StepDir, failure: Mapping[str, object]) -> tuple[str, ...]:
    """The lines that the record of the failure has, else the end of the step's stderr.log."""
    told = failure.get("last_lines")
    lines = told if isinstance(told, list) else text_of(logs.stderr).splitlines()
    return tuple(map(str, lines[-TAIL_LINES:]))
