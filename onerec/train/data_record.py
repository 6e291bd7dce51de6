"""data.json of a stage: what it reads, as planned, and the files that this was made of.

A checkpoint keeps only a position. When the data has changed since, this record tells what has changed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onerec.data.loading.load import difference_of_files
from onerec.errors import DriftError
from onerec.progress import say, write_json_atomically

if TYPE_CHECKING:
    from onerec.data.loading.load import PackLoader


def go_on_from(position: dict[str, Any], *, loader: PackLoader, stage_dir: Path) -> None:
    """Set the loader to a saved position; raises DriftError with the difference for data that changed."""
    try:
        loader.load_state_dict(position)
    except DriftError as fault:
        before = _recorded_files(stage_dir)
        changes = [] if before is None else difference_of_files(before, loader.files())
        raise DriftError("; ".join([str(fault), *changes])) from fault


def record_data(loader: PackLoader, *, packs_per_step: int, stage: str, stage_dir: Path) -> None:
    """Write data.json, and tell what is out of the ordinary in it."""
    account = loader.account()
    record = {**account, "packs_per_step": packs_per_step, "files": loader.files()}
    write_json_atomically(stage_dir / "data.json", record)
    for line in account["warnings"]:
        say(f"warning: {stage}: {line}", is_warning=True)
    say(describe(stage, account))


def describe(stage: str, account: dict[str, Any]) -> str:
    """The mixture for people: a line for each source, over all epochs."""
    lines = [
        f"  {name}: {part['token_share']:.1%} of the tokens, {part['sample_share']:.1%} of the samples, "
        f"each read {part['repeats']:.2f} times an epoch"
        for name, part in account["sources"].items()
    ]
    return "\n".join([f"{stage} reads", *lines])


def _recorded_files(stage_dir: Path) -> list[Any] | None:
    """Files that the stage's data was made of when it began; None where nothing tells."""
    try:
        return list(json.loads((stage_dir / "data.json").read_bytes())["files"])
    except (OSError, ValueError, KeyError):
        return None
