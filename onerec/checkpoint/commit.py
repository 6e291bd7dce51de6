"""What makes a checkpoint complete, and how one becomes so: names, digests, renames; files, no tensors.

A checkpoint is written under a temporary name, flushed, digested in COMMIT.json and renamed; only then does
`latest` name it. Which one to take is told in `choose`, which may go in `retention`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from onerec.checkpoint.crash_points import reach
from onerec.errors import StorageError
from onerec.progress import sync_directory, write_json_atomically

COMMIT_NAME = "COMMIT.json"
LATEST_NAME = "latest"
READERS = 8
"""Threads that compute digests; hashlib works outside Python's lock."""
_STEP = re.compile(r"step([0-9]+)")


@dataclass(frozen=True)
class FileFacts:
    """What COMMIT.json holds of one file."""

    sha256: str
    size: int
    """Bytes."""


def step_dir(stage_dir: Path, step: int) -> Path:
    """Folder of one checkpoint, under its final name."""
    return stage_dir / f"step{step}"


def data_dir(checkpoint: Path) -> Path:
    """Folder inside a checkpoint that holds model, optimizer and trainer.json."""
    return next(iter(sorted(checkpoint.glob("global_step*"))), checkpoint / f"global_{checkpoint.name}")


def complete_steps(stage_dir: Path) -> list[int]:
    """Steps that have a committed checkpoint, in increasing order."""
    found = (_STEP.fullmatch(path.parent.name) for path in stage_dir.glob(f"step*/{COMMIT_NAME}"))
    return sorted(int(match[1]) for match in found if match)


def begin(stage_dir: Path, step: int, *, attempt: str) -> Path:
    """An empty temporary folder for the checkpoint of `step`; an older half-written one is removed."""
    temporary = stage_dir / f"step{step}.tmp-{attempt}"
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / f"global_step{step}").mkdir(parents=True)
    return temporary


def facts_of(folder: Path, files: Iterable[Path]) -> dict[str, FileFacts]:
    """Digest and size of files below a folder, by their path relative to it."""
    paths = sorted(files)
    with ThreadPoolExecutor(READERS) as pool:
        digests = list(pool.map(_digest, paths))
    return {
        path.relative_to(folder).as_posix(): FileFacts(digest, path.stat().st_size)
        for path, digest in zip(paths, digests, strict=True)
    }


def commit(
    temporary: Path, stage_dir: Path, step: int, *, known: Mapping[str, FileFacts] | None = None
) -> Path:
    """Make a fully written temporary folder the checkpoint of `step`, named by `latest`; its folder.

    `known` are files whose digests other ranks have told, by their path in the folder; all others are
    digested here. Raises StorageError for a file that was told and cannot be seen.
    """
    known = known or {}
    there = {path.relative_to(temporary).as_posix(): path for path in files_in(temporary)}
    unseen = sorted(set(known) - set(there))
    if unseen:
        raise StorageError(
            f"{temporary / unseen[0]} was written by another rank and cannot be seen here; "
            "the run directory has to be shared by all hosts"
        )
    facts = {**facts_of(temporary, (path for name, path in there.items() if name not in known)), **known}
    record = {
        "step": step,
        "sha256": {name: fact.sha256 for name, fact in facts.items()},
        "bytes": {name: fact.size for name, fact in facts.items()},
    }
    reach("before commit", step=step)
    write_json_atomically(temporary / COMMIT_NAME, record)
    for folder in (*(path for path in temporary.rglob("*") if path.is_dir()), temporary):
        sync_directory(folder)
    reach("before rename", step=step)
    final = step_dir(stage_dir, step)
    if final.exists():
        quarantine(final)
    temporary.rename(final)
    sync_directory(stage_dir)
    reach("after rename", step=step)
    point_latest(stage_dir, final.name)
    return final


def damage(checkpoint: Path, *, within: str = "") -> str | None:
    """What is wrong with a committed checkpoint, naming the file; None when every digest holds.

    `within` looks only at files of that folder of the checkpoint's data, such as "model".
    """
    path = checkpoint / COMMIT_NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        digests = {str(name): str(digest) for name, digest in record["sha256"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        return f"{path} cannot be read ({type(fault).__name__}: {fault})"
    prefix = f"{data_dir(checkpoint).name}/{within}/" if within else ""
    wanted = {checkpoint / name: digest for name, digest in digests.items() if name.startswith(prefix)}
    if not wanted:
        return f"{path} tells of no file{f' in {within}' if within else ''}"
    missing = next((path for path in wanted if not path.is_file()), None)
    if missing is not None:
        return f"{missing} is missing"
    with ThreadPoolExecutor(READERS) as pool:
        return next(filter(None, pool.map(_difference, wanted, wanted.values())), None)


def quarantine(checkpoint: Path) -> Path:
    """Rename a bad checkpoint so that nobody loads it; it stays on disk. Returns its new folder."""
    number = 1
    while (target := checkpoint.with_name(f"{checkpoint.name}.quarantined-{number}")).exists():
        number += 1
    return checkpoint.rename(target)


def point_latest(stage_dir: Path, name: str) -> None:
    """Have `latest` name a checkpoint, in one move."""
    temporary = stage_dir / ".latest.tmp"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(name + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(stage_dir / LATEST_NAME)
    sync_directory(stage_dir)


def latest_name(stage_dir: Path) -> str | None:
    """The checkpoint that `latest` names; None where it is not there."""
    try:
        return (stage_dir / LATEST_NAME).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def files_in(folder: Path) -> list[Path]:
    """All files below a folder, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _difference(path: Path, digest: str) -> str | None:
    try:
        found = _digest(path)
    except OSError as fault:
        return f"{path} cannot be read: {fault}"
    if found == digest:
        return None
    return f"{path} differs from its digest: the file was damaged or exchanged after it was written"


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
