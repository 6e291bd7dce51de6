"""Which checkpoints of a stage are complete, how one becomes so, and which may go: files, no tensors.

A checkpoint is written under a temporary name, flushed, digested in COMMIT.json and renamed; only then does
`latest` name it and may older ones be pruned. Nothing but this file renames, quarantines or removes
checkpoints.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

from onerec.errors import ConfigError, StorageError
from onerec.progress import sync_directory, write_json_atomically

COMMIT_NAME = "COMMIT.json"
_STEP = re.compile(r"step([0-9]+)")
_TAG = re.compile(r"(?:step[0-9]+/)?(?:global_)?(step[0-9]+)/?")


def step_dir(stage_dir: Path, step: int) -> Path:
    """Folder of one checkpoint, under its final name."""
    return stage_dir / f"step{step}"


def data_dir(checkpoint: Path) -> Path:
    """Folder inside a checkpoint that holds model, optimizer and trainer.json."""
    return next(iter(sorted(checkpoint.glob("global_step*"))), checkpoint / f"global_{checkpoint.name}")


def begin(stage_dir: Path, step: int) -> Path:
    """An empty temporary folder for the checkpoint of `step`; an older half-written one is removed."""
    temporary = stage_dir / f"step{step}.tmp-{os.environ.get('RUNNER_ATTEMPT', '0')}"
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / f"global_step{step}").mkdir(parents=True)
    return temporary


def commit(temporary: Path, stage_dir: Path, step: int) -> Path:
    """Make a fully written temporary folder the checkpoint of `step`, named by `latest`; its folder."""
    files = {str(path.relative_to(temporary)): _digest(path) for path in _files(temporary)}
    write_json_atomically(temporary / COMMIT_NAME, {"step": step, "sha256": files})
    for folder in (*(path for path in temporary.rglob("*") if path.is_dir()), temporary):
        sync_directory(folder)
    final = step_dir(stage_dir, step)
    if final.exists():
        quarantine(final)
    temporary.rename(final)
    sync_directory(stage_dir)
    _point_latest(stage_dir, final.name)
    return final


def complete_steps(stage_dir: Path) -> list[int]:
    """Steps that have a committed checkpoint, in increasing order."""
    found = (_STEP.fullmatch(path.parent.name) for path in stage_dir.glob(f"step*/{COMMIT_NAME}"))
    return sorted(int(match[1]) for match in found if match)


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a committed checkpoint, naming the file; None when every digest holds."""
    try:
        digests: dict[str, str] = json.loads((checkpoint / COMMIT_NAME).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError) as fault:
        return f"{checkpoint / COMMIT_NAME}: {fault}"
    for name, digest in digests.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{path} is missing"
        if _digest(path) != digest:
            return f"{path} differs from its digest: the file was damaged after it was written"
    return None


def newest_sound(stage_dir: Path, *, report: list[str]) -> Path | None:
    """The newest checkpoint whose digests hold; damaged newer ones are set aside and told in `report`.

    None means that the stage has saved nothing yet. Raises StorageError, and touches nothing, when there are
    or were checkpoints but none is sound: starting afresh is a person's decision.
    """
    damaged: list[Path] = []
    for step in reversed(complete_steps(stage_dir)):
        checkpoint = step_dir(stage_dir, step)
        fault = damage(checkpoint)
        if fault is None:
            for bad in damaged:
                report[damaged.index(bad)] += f"; set aside as {quarantine(bad).name}"
            if damaged:
                _point_latest(stage_dir, checkpoint.name)
            return checkpoint
        damaged.append(checkpoint)
        report.append(f"checkpoint {checkpoint.name} is damaged: {fault}")
    if damaged or any(stage_dir.glob("step*.quarantined-*")):
        told = [
            *report,
            f"no sound checkpoint is left in {stage_dir}; mend the disk, or start afresh with --rerun",
        ]
        raise StorageError("\n".join(told))
    return None


def find(folder: Path, *, tag: str | None) -> Path:
    """The checkpoint that `resume_from` and `resume_from_tag` name; ConfigError tells which there are.

    `folder` is a stage folder or a step folder; a tag may be written step50, global_step50 or
    step50/global_step50.
    """
    if (folder / COMMIT_NAME).exists() and tag in {None, folder.name, f"global_{folder.name}"}:
        return folder
    steps = complete_steps(folder)
    if tag is None and steps:
        return step_dir(folder, steps[-1])
    match = _TAG.fullmatch(tag or "")
    if match and int(match[1].removeprefix("step")) in steps:
        return folder / match[1]
    there = ", ".join(f"step{step}" for step in steps) or "none"
    wanted = f"checkpoint {tag!r}" if tag else "complete checkpoint"
    raise ConfigError(f"{folder} has no {wanted}; complete checkpoints there: {there}")


def quarantine(checkpoint: Path) -> Path:
    """Rename a bad checkpoint so that nobody loads it; it stays on disk. Returns its new folder."""
    number = 1
    while (target := checkpoint.with_name(f"{checkpoint.name}.quarantined-{number}")).exists():
        number += 1
    return checkpoint.rename(target)


def prune(stage_dir: Path, *, keep: int, keep_every: int | None) -> list[int]:
    """Remove all but the newest `keep`, multiples of `keep_every` and converted ones; the steps removed."""
    steps = complete_steps(stage_dir)
    removed = [
        step
        for step in steps[:-keep]
        if not (keep_every and step % keep_every == 0) and not is_in_use(step_dir(stage_dir, step))
    ]
    for step in removed:
        trash = stage_dir / f".trash-step{step}"
        step_dir(stage_dir, step).rename(trash)
        # a reader on another host may keep a file busy; what stays is tried again at the next start
        shutil.rmtree(trash, ignore_errors=True)
    return removed


def is_in_use(checkpoint: Path) -> bool:
    """Whether somebody has converted the checkpoint, or is at it."""
    return any(data_dir(checkpoint).glob("*converted*"))


def remove_leftovers(stage_dir: Path) -> None:
    """Remove what interrupted saves and prunings left behind."""
    for pattern in ("step*.tmp-*", ".trash-step*"):
        for path in stage_dir.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def _point_latest(stage_dir: Path, name: str) -> None:
    temporary = stage_dir / ".latest.tmp"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(name + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(stage_dir / "latest")
    sync_directory(stage_dir)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
