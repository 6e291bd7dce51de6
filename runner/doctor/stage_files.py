"""Read what one training stage has on the disk: its checkpoints, whether their files hold, and its records.

Everything that is damaged or missing is told in the values; nothing is raised, written or locked.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from onerec.checkpoint.commit import damage
from runner.doctor.documents import Document, as_whole, read_object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.history import PlannedStep, StepHistory
    from runner.rundir import RunDir, StepDir

FAST_BYTES = 1 << 20
"""How much of the end of a file of rows is read when it should be fast."""
MISSING = Document(fault="is not there")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CheckpointFiles:
    """One complete checkpoint."""

    step: int
    place: str
    """Path relative to the run directory."""
    state: Document
    """trainer.json."""
    fault: str | None = None
    """What is wrong with its files, or with the record of them."""
    size: int = 0
    """Bytes, as its record tells."""


@dataclass(frozen=True)
class StageFiles:
    """One training stage."""

    name: str
    place: str
    told: StepHistory
    checkpoints: tuple[CheckpointFiles, ...] = ()
    """Complete ones, oldest first."""
    unmarked: tuple[str, ...] = ()
    """Names of folders like step50 that are not complete."""
    quarantined: tuple[str, ...] = ()
    latest: str | None = None
    """What the file `latest` says; None where it cannot be read."""
    result: Document = MISSING
    data: Document = MISSING
    """data.json."""
    is_resumed_from_elsewhere: bool = False
    """Whether its config.json names a checkpoint of another run to go on from."""
    rows: tuple[tuple[str, tuple[bytes, ...]], ...] = ()
    """Place and lines of each file of rows."""

    @property
    def is_done(self) -> bool:
        """Whether the journal says that it came to its end."""
        return self.told.state == "done"


def read_stage(run: RunDir, step: PlannedStep, told: StepHistory, *, fast: bool) -> StageFiles:
    """All about one training stage; `fast` compares sizes instead of reading whole checkpoints."""
    home = run.step(step["output_dir"])
    found = (_checkpoint(run, home, number, fast=fast) for number in home.checkpoints())
    return StageFiles(
        name=step["name"],
        place=step["output_dir"],
        told=told,
        checkpoints=tuple(checkpoint for checkpoint in found if checkpoint is not None),
        unmarked=tuple(path.name for path in home.unmarked_checkpoints()),
        quarantined=tuple(path.name for path in home.quarantined_checkpoints()),
        latest=_text(home.latest),
        result=read_object(home.result),
        data=read_object(home.data_record),
        is_resumed_from_elsewhere=_resumes_elsewhere(read_object(home.config)),
        rows=tuple(
            (run.inside(str(path)), _lines(path, fast=fast))
            for path in (home.metrics, home.validation, home.hit_rates)
            if path.is_file()
        ),
    )


def _checkpoint(run: RunDir, home: StepDir, step: int, *, fast: bool) -> CheckpointFiles | None:
    """One checkpoint; None when it was pruned in the meantime."""
    folder, mark = home.checkpoint(step), home.commit_record(step)
    record = read_object(mark)
    fault = _record_fault(record, step=step)
    if fault is not None:
        fault = f"{mark.name} {fault}"
    else:
        told = _sizes_fault(folder, record) if fast else damage(folder)
        fault = told and told.replace(f"{folder}/", "")
    state = read_object(home.trainer_state(step))
    if not os.path.lexists(mark):
        return None
    place = run.inside(str(folder))
    return CheckpointFiles(step, place, state, fault, _size(record) if fault is None else 0)


def _record_fault(record: Document, *, step: int) -> str | None:
    """What is wrong with COMMIT.json itself."""
    if record.fault is not None:
        return record.fault
    digests, sizes = record.values.get("sha256"), record.values.get("bytes", {})
    if not isinstance(digests, dict) or not isinstance(sizes, dict) or not digests:
        return "tells of no files"
    strange = [name for name, digest in digests.items() if not _is_entry(name, digest)]
    if strange:
        return f"has an entry {strange[0]!r} that is no file of the checkpoint with its digest"
    if sizes and (sizes.keys() != digests.keys() or None in map(as_whole, sizes.values())):
        return "has sizes that are not those of its files"
    if record.values.get("step", step) != step:
        return f"is that of step {record.values['step']}"
    return None


def _is_entry(name: str, digest: object) -> bool:
    """Whether a name stays inside the checkpoint and comes with a digest."""
    path = PurePosixPath(name)
    is_inside = not path.is_absolute() and ".." not in path.parts and "\0" not in name
    return is_inside and isinstance(digest, str) and _DIGEST.fullmatch(digest) is not None


def _sizes_fault(folder: Path, record: Document) -> str | None:
    """The first file that is missing or has another size than was written."""
    for path, size in _files(folder, record):
        try:
            found = path.stat().st_size
        except FileNotFoundError:
            return f"{path} is missing"
        except OSError as fault:
            return f"{path} cannot be read: {fault.strerror}"
        if size is not None and found != size:
            return f"{path} has {found} bytes, {size} were written"
    return None


def _files(folder: Path, record: Document) -> Iterator[tuple[Path, int | None]]:
    """Each file of a record, and its size where that is told."""
    digests, sizes = record.values["sha256"], record.values.get("bytes", {})
    assert isinstance(digests, dict)
    assert isinstance(sizes, dict)
    for name in digests:
        yield folder / name, sizes.get(name)


def _size(record: Document) -> int:
    sizes = record.values.get("bytes", {})
    return sum(sizes.values()) if isinstance(sizes, dict) else 0


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _resumes_elsewhere(config: Document) -> bool:
    settings = config.values.get("checkpoint")
    return isinstance(settings, dict) and settings.get("resume_from") is not None


def _lines(path: Path, *, fast: bool) -> tuple[bytes, ...]:
    """Lines with their ends; when it should be fast, those in the last part of the file."""
    try:
        with path.open("rb") as file:
            start = max(0, path.stat().st_size - FAST_BYTES) if fast else 0
            file.seek(start)
            lines = file.read().splitlines(keepends=True)
    except OSError:
        return ()
    return tuple(lines[1:] if start else lines)
