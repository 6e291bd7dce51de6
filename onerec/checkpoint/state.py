"""trainer.json of a checkpoint: all of a stage's state that is no tensor, as JSON, never pickle."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from onerec.checkpoint import commit
from onerec.checkpoint.best import Best
from onerec.checkpoint.stretch import Stretch
from onerec.errors import StorageError

FORMAT = 2
READABLE = {1, FORMAT}
"""Format 1 told no stretches."""
TRAINER_NAME = "trainer.json"


@dataclass(frozen=True)
class TrainerState:
    """All of a stage's state that is no tensor; small, and the same on every rank."""

    step: int
    """Optimizer steps taken."""
    loss: float
    """Loss of the last step."""
    data: dict[str, Any]
    """Position in the data, as the loader tells it."""
    packs_per_step: int
    counts: dict[str, list[int]]
    """Tokens and samples read so far, by source."""
    run: dict[str, Any]
    """What the checkpoint belongs to: stage, seed, folder the stage started from."""
    stretches: tuple[Stretch, ...] = field(default=())
    """How the steps were taken, oldest first; of all attempts on the way here, other runs' too."""
    best: Best | None = None
    """The step with the best hit rates so far; None where none was measured."""


def document_of(state: TrainerState) -> dict[str, Any]:
    """The JSON document of a state, with torch's random numbers as they stand now."""
    rng = base64.b64encode(bytes(torch.get_rng_state().tolist())).decode()
    return {"format": FORMAT, "torch_rng": rng, **asdict(state)}


def load_state(checkpoint: Path) -> TrainerState:
    """The state in a checkpoint; raises StorageError, naming the file, for one that is not as we write it."""
    path, document = _read(checkpoint)
    kept = {key: value for key, value in document.items() if key not in {"format", "torch_rng"}}
    try:
        return TypeAdapter(TrainerState).validate_python(kept)
    except ValidationError as fault:
        raise StorageError(f"{path} is no state of a trainer: {fault}; choose another checkpoint") from fault


def restore_rng(checkpoint: Path) -> None:
    """Set torch's random numbers to where they stood; raises StorageError as `load_state` does."""
    path, document = _read(checkpoint)
    try:
        state = list(base64.b64decode(document["torch_rng"]))
        torch.set_rng_state(torch.tensor(state, dtype=torch.uint8))
    except (KeyError, TypeError, ValueError, RuntimeError) as fault:
        raise StorageError(
            f"{path}: torch_rng is no state of random numbers ({fault}); choose another checkpoint"
        ) from fault


def _read(checkpoint: Path) -> tuple[Path, dict[str, Any]]:
    path = commit.data_dir(checkpoint) / TRAINER_NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise StorageError(f"{path} cannot be read: {fault}; choose another checkpoint") from fault
    if not isinstance(document, dict) or document.get("format") not in READABLE:
        raise StorageError(f"{path} is not of format {FORMAT}; it was written by another version")
    return path, document
