"""All runs below a folder: how each stands. A damaged run is one of them, with what is wrong with it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from onerec.errors import ConfigError, OneRecError
from runner.observe import observe
from runner.printable import printable
from runner.report import decimals, size, table
from runner.rundir import RunDir
from runner.status_text import age_text

if TYPE_CHECKING:
    from runner.status import StageStatus

SCHEMA_VERSION = 1
DAMAGED = "damaged"
DEEPEST = 3
"""Folders between the one that is looked at and a run."""


class RunLine(TypedDict):
    """One run; None: not known."""

    run: str
    path: str
    state: str
    """As in the status, or damaged."""
    reason: str | None
    stage: str | None
    """The step that runs or ran last."""
    step: int | None
    total_steps: int | None
    loss: float | None
    started_time: float | None
    """Seconds since the epoch, as the next."""
    last_updated_time: float | None
    size_bytes: int


class Listing(TypedDict):
    """The fixed form of `list --json`."""

    schema_version: int
    runs: list[RunLine]


def find_runs(folder: Path) -> list[RunLine]:
    """Every run below a folder, the one last started first; raises ConfigError where there is no folder."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; name the one that holds your runs")
    lines = [_line(run, folder) for run in _runs_below(folder, DEEPEST)]
    return sorted(lines, key=lambda line: (-(line["started_time"] or 0.0), line["run"]))


def listing_document(lines: Sequence[RunLine]) -> Listing:
    """The list as JSON."""
    return {"schema_version": SCHEMA_VERSION, "runs": [*lines]}


def listing_text(lines: Sequence[RunLine], *, now: float) -> str:
    """The list as a table, and under it why a run is not well."""
    if not lines:
        return "no runs; start one: python -m runner MANIFEST"
    rows: list[Sequence[str]] = [
        ("run", "state", "stage", "step", "loss", "started", "last sign of life", "size")
    ]
    for line in lines:
        steps = "" if line["step"] is None else f"{line['step']}/{line['total_steps'] or '?'}"
        begun, last = line["started_time"], line["last_updated_time"]
        rows.append(
            (
                printable(line["run"]),
                line["state"],
                printable(line["stage"] or ""),
                steps,
                decimals(line["loss"]),
                "" if begun is None else age_text(begun, now=now),
                "" if last is None else age_text(last, now=now),
                size(line["size_bytes"]),
            )
        )
    reasons = [f"{line['run']}: {line['reason']}" for line in lines if line["reason"]]
    return "\n".join([*table(rows), *(["", *map(printable, reasons)] if reasons else [])])


def _runs_below(folder: Path, depth: int) -> Iterator[RunDir]:
    """Folders that hold a journal or a manifest; nothing is looked for inside of them, nor behind links."""
    run = RunDir(folder)
    if run.events.exists() or (run.manifest.exists() and run.resolved.exists()):
        yield run
        return
    if depth < 0:
        return
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:  # not ours to read
        return
    for path in inside:
        yield from _runs_below(path, depth - 1)


def _line(run: RunDir, folder: Path) -> RunLine:
    name = run.path.relative_to(folder).as_posix() if run.path != folder else run.path.resolve().name
    line: RunLine = {
        "run": name,
        "path": str(run.path),
        "state": DAMAGED,
        "reason": None,
        "stage": None,
        "step": None,
        "total_steps": None,
        "loss": None,
        "started_time": None,
        "last_updated_time": None,
        "size_bytes": _bytes_below(run.path),
    }
    try:
        status = observe(run)
    except (OneRecError, OSError, KeyError, TypeError, ValueError) as fault:
        line["reason"] = (
            str(fault) if isinstance(fault, (OneRecError, OSError)) else f"its journal: {fault!r}"
        )
        return line
    line["state"] = status["state"]
    line["started_time"], line["last_updated_time"] = status["started_time"], status["last_updated_time"]
    line["reason"] = status["reason"] if status["state"] not in {"done", "running"} else None
    newest = _newest(status["stages"])
    if newest is not None:
        line["stage"] = newest["name"]
        line["step"], line["total_steps"] = newest["step"], newest["total_steps"]
    losses = [stage["loss"] for stage in status["stages"] if stage["loss"] is not None]
    line["loss"] = losses[-1] if losses else None
    return line


def _newest(stages: Sequence[StageStatus]) -> StageStatus | None:
    """The step that runs, else the one that is not well, else the last that is done."""
    for states in ({"running"}, {"failed", "interrupted"}, {"done"}):
        found = [stage for stage in stages if stage["state"] in states]
        if found:
            return found[-1]
    return None


def _bytes_below(folder: Path) -> int:
    """Bytes of all files, each once, however often it is linked."""
    total, seen = 0, set()
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found = Path(place, name).lstat()
            except OSError:  # removed meanwhile
                continue
            if stat.S_ISREG(found.st_mode) and (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                total += found.st_size
    return total
