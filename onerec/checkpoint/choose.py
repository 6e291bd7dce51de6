"""Which checkpoint of a stage is taken: the newest sound one, or the one that a person names.

A damaged one is set aside and told, never loaded and never removed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from onerec.checkpoint import commit
from onerec.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

_TAG = re.compile(r"(?:step[0-9]+/)?(?:global_)?(step[0-9]+)/?")
_STEP_FOLDER = re.compile(r"step[0-9]+")


def newest_sound(stage_dir: Path, *, report: list[str]) -> Path | None:
    """The newest checkpoint whose digests hold; damaged newer ones are set aside and told in `report`.

    None means that the stage has saved nothing yet. Raises StorageError, and touches nothing, when there are
    or were checkpoints but none is sound: starting afresh is a person's decision.
    """
    report += [
        f"{path} has no {commit.COMMIT_NAME}: it was never completed, or that file was removed; not taken"
        for path in sorted(stage_dir.glob("step*"))
        if _STEP_FOLDER.fullmatch(path.name) and not (path / commit.COMMIT_NAME).exists()
    ]
    damaged: list[tuple[Path, str]] = []
    for step in reversed(commit.complete_steps(stage_dir)):
        checkpoint = commit.step_dir(stage_dir, step)
        fault = commit.damage(checkpoint)
        if fault is None:
            report += [f"{told}; set aside as {commit.quarantine(bad).name}" for bad, told in damaged]
            # a kill after the rename of a save leaves `latest` behind, and no later save may follow
            if commit.latest_name(stage_dir) != checkpoint.name:
                commit.point_latest(stage_dir, checkpoint.name)
            return checkpoint
        damaged.append((checkpoint, f"checkpoint {checkpoint.name} is damaged: {fault}"))
    if damaged or any(stage_dir.glob("step*.quarantined-*")):
        told = [
            *report,
            *(told for _, told in damaged),
            f"no sound checkpoint is left in {stage_dir}; mend the disk, or start afresh with --rerun",
        ]
        raise StorageError("\n".join(told))
    return None


def find(folder: Path, *, tag: str | None) -> Path:
    """The checkpoint that `resume_from` and `resume_from_tag` name; ConfigError tells which there are.

    `folder` is a stage folder or a step folder; a tag may be written step50, global_step50 or
    step50/global_step50.
    """
    if (folder / commit.COMMIT_NAME).exists() and tag in {None, folder.name, f"global_{folder.name}"}:
        return folder
    steps = commit.complete_steps(folder)
    if tag is None and steps:
        return commit.step_dir(folder, steps[-1])
    match = _TAG.fullmatch(tag or "")
    if match and int(match[1].removeprefix("step")) in steps:
        return folder / match[1]
    there = ", ".join(f"step{step}" for step in steps) or "none"
    wanted = f"checkpoint {tag!r}" if tag else "complete checkpoint"
    raise ConfigError(f"{folder} has no {wanted}; complete checkpoints there: {there}")
