"""What a step has left, measured when it is done, so that later changes of it are noticed before it is used.

Names and sizes only: a run goes on in seconds. Contents are compared by the trainer, which knows digests.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.steps import Step

FINAL = frozenset({"build_data", "init_model", "expand_vocab", "convert", "evaluate"})
"""Kinds of step whose outputs nobody changes afterwards. Stores and stages grow while others use them."""
Measure = dict[str, list[int]]
"""Number of files and of bytes below each output, by its path relative to the step's folder."""


def measure(step: Step) -> Measure:
    """What is there now of the outputs of a step; of those that are not final, nothing."""
    if step.kind not in FINAL:
        return {}
    return {os.path.relpath(output, step.folder): _measured(Path(output)) for output in step.outputs}


def changed(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """What differs, in words: `model: 3 files of 1,200 bytes, now 3 of 800`."""
    return [
        f"{name} changed: {_text(before[name])} when it was made, now {_text(now.get(name))}"
        for name in before
        if before[name] != now.get(name)
    ]


def _measured(path: Path) -> list[int]:
    if path.is_file():
        return [1, path.stat().st_size]
    sizes = [file.stat().st_size for file in path.rglob("*") if file.is_file()]
    return [len(sizes), sum(sizes)]


def _text(told: object) -> str:
    if not isinstance(told, list) or len(told) != 2:
        return "nothing"
    files, size = told
    return f"{files:,} file{'' if files == 1 else 's'} of {size:,} bytes"
