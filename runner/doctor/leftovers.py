"""What interrupted work left in a run directory: what goes by itself, and what a person has to remove.

Nothing is removed here. What a living process may still be writing is no finding.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from runner.doctor.diagnosis import Check, Finding
from runner.report import counted, size
from runner.rundir import CONVERSION_LEFTOVERS, SAVE_LEFTOVERS, WRITE_LEFTOVERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.doctor.diagnosis import Standing
    from runner.history import PlannedStep
    from runner.rundir import RunDir

Kind = Literal["save", "conversion", "write"]
PATTERNS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("save", SAVE_LEFTOVERS),
    ("conversion", CONVERSION_LEFTOVERS),
    ("write", WRITE_LEFTOVERS),
)
WRITER = re.compile(r"\..+\.([0-9]+)(?:\.tmp)?")
"""Temporary names that tell the process that writes: `.result.json.123.tmp`, `.converted.123`."""


@dataclass(frozen=True)
class Leftover:
    """One temporary file or folder."""

    place: str
    kind: Kind
    step: str | None
    """The step in whose folder it is; None beside the manifest."""
    size: int
    """Bytes."""
    writer: int | None = None
    """The process that its name tells."""


def read_leftovers(run: RunDir, steps: Sequence[PlannedStep]) -> list[Leftover]:
    """All temporary files and folders, with their sizes."""
    found = [_read(run, path, kind="write", step=None) for path in run.leftovers()]
    folders = {step["output_dir"]: step["name"] for step in reversed(steps)}
    folders |= {step["folder"]: step["name"] for step in reversed(steps)}
    for folder in sorted(folders, key=len):
        for kind, patterns in PATTERNS:
            paths = run.step(folder).leftovers(patterns)
            found += [_read(run, path, kind=kind, step=folders[folder]) for path in paths]
    return list({one.place: one for one in found}.values())  # the innermost step has it


def check_leftovers(
    leftovers: Sequence[Leftover], standing: Standing, *, pids: frozenset[int], busy: frozenset[str]
) -> Check:
    """Those that no living process works on; `busy` are folders that some program was started for."""
    dead = [one for one in leftovers if not _is_in_work(one, standing, pids=pids, busy=busy)]
    detail = counted(len(dead), "leftover")
    if dead:
        detail += f", {size(sum(one.size for one in dead))}"
    return Check("leftovers", detail, tuple(_finding(one, standing) for one in dead))


def _read(run: RunDir, path: Path, *, kind: Kind, step: str | None) -> Leftover:
    writer = WRITER.fullmatch(path.name)
    return Leftover(run.inside(str(path)), kind, step, _size(path), int(writer[1]) if writer else None)


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; what goes meanwhile counts nothing."""
    inside = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    return sum(map(_own_size, inside)) if path.is_dir() else _own_size(path)


def _own_size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _is_in_work(one: Leftover, standing: Standing, *, pids: frozenset[int], busy: frozenset[str]) -> bool:
    if one.writer is not None:
        return one.writer in pids
    if one.kind == "write":  # ranks of one step may write into the folder of another
        return standing.is_alive
    running = {name for name, step in standing.history.by_step.items() if step.state == "running"}
    is_running = standing.is_alive and bool(running & {one.step, f"{one.step}:convert"})
    stage = one.place.partition("/")[0]  # a conversion writes into the folder of its stage
    return is_running or any(place.partition("/")[0] == stage for place in busy)


def _finding(one: Leftover, standing: Standing) -> Finding:
    text = f"left behind by an interrupted {one.kind} ({size(one.size)})"
    if _goes_by_itself(one, standing):
        return Finding("info", one.place, text, f"nothing; it goes when {one.step} goes on")
    pins = "; it keeps this checkpoint from being pruned" if one.kind == "conversion" else ""
    return Finding("warning", one.place, f"{text}{pins}", standing.remove(one.place))


def _goes_by_itself(one: Leftover, standing: Standing) -> bool:
    """Whether the step that left it will run again, and then replaces it or takes it away."""
    if one.step is None or one.writer is not None:
        return False
    step = f"{one.step}:convert" if one.kind == "conversion" else one.step
    return standing.history.step(step).state not in {"done", "stale"}
