"""Which checkpoint is converted: one of ours, with digests, or one that OpenOneRec's trainer wrote."""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from onerec.checkpoint import commit
from onerec.checkpoint.state import TRAINER_NAME
from onerec.checkpoint.stored import StoredTensors
from onerec.checkpoint.tensors import INDEX_NAME
from onerec.errors import ConfigError, StorageError
from onerec.model.hf_folder import EMBEDDING, HEAD, read_json
from onerec.model.safetensors_writer import bytes_of
from onerec.progress import say

FOREIGN_PREFIX = "app.model."
"""How OpenOneRec's trainer names the weights in its checkpoints; moments stand beside them."""
_STEP = re.compile(r"(?:global_)?step([0-9]+)")


@dataclass(frozen=True)
class Located:
    """A checkpoint to convert."""

    folder: Path
    """Its step folder; of a foreign one the folder that holds the index."""
    step: int
    tensors_dir: Path
    """The DCP folder of the weights."""
    is_ours: bool

    @property
    def index_digest(self) -> str:
        """What tells this checkpoint from every other: sha256 of its index, in which DCP names each save."""
        return hashlib.sha256((self.tensors_dir / INDEX_NAME).read_bytes()).hexdigest()

    def open(self) -> StoredTensors:
        """Its weights; raises ConfigError for a foreign folder without any."""
        prefix = "" if self.is_ours else FOREIGN_PREFIX
        stored = StoredTensors(self.tensors_dir, prefix=prefix, checks=not self.is_ours)
        if not stored.names():
            raise ConfigError(
                f"{self.tensors_dir} holds no weights named {FOREIGN_PREFIX}*; give a checkpoint of "
                "OpenOneRec's trainer or of this one"
            )
        return stored


def choose(stage_dir: Path, step: int | None) -> Located:
    """The checkpoint of a step of a stage, or its newest; raises ConfigError listing the steps there are."""
    steps = commit.complete_steps(stage_dir)
    if not steps or (step is not None and step not in steps):
        there = ", ".join(map(str, steps)) or "none"
        wanted = "complete checkpoint" if step is None else f"complete checkpoint of step {step}"
        raise ConfigError(f"{stage_dir} has no {wanted}; steps there: {there}")
    return ours(commit.step_dir(stage_dir, steps[-1] if step is None else step))


def ours(folder: Path) -> Located:
    """A step folder of a stage."""
    return Located(folder, _number(folder), commit.data_dir(folder) / "model", is_ours=True)


def locate(folder: Path, step: int | None) -> Located:
    """The checkpoint that a person names: a step folder, or a folder of steps and a step.

    Raises ConfigError telling what is there instead.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; name a checkpoint, or the folder of its steps and --step")
    candidates = [folder] if _STEP.fullmatch(folder.name) else []
    if step is not None:
        candidates += [folder / f"step{step}", folder / f"global_step{step}"]
    for one in candidates:
        if step is not None and _number(one) != step:
            continue
        if (one / commit.COMMIT_NAME).exists():
            return ours(one)
        for data in (one, one / f"global_{one.name}"):
            if (data / INDEX_NAME).is_file():
                return Located(data, _number(data), data, is_ours=False)
    there = sorted({_number(path) for path in folder.glob("*step*") if _STEP.fullmatch(path.name)})
    told = ", ".join(map(str, there)) or "none"
    wanted = "checkpoint" if step is None else f"checkpoint of step {step}"
    raise ConfigError(f"{folder} is and has no {wanted}; steps there: {told}; choose one with --step")


def without_copied_head(stored: StoredTensors, *, is_tied: bool) -> None:
    """Leave out a head that is a copy of the embedding, as a tied model has it; ConfigError if it is none."""
    if not is_tied or HEAD not in stored:
        return
    if _digest(stored, HEAD) != _digest(stored, EMBEDDING):
        raise ConfigError(
            f"{stored.folder}: the head is no copy of the embedding, and config.json ties them; set "
            "tie_word_embeddings = false in the config.json of a copy of the model folder, and give that"
        )
    stored.leave_out(HEAD)


class Vouching:
    """Checks the digests of a checkpoint's weights while they are read; of a foreign one it warns."""

    def __init__(self, located: Located) -> None:
        self._located = located
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="digests")
        self._damage: Future[str | None] | None = None
        if located.is_ours:
            self._damage = self._thread.submit(_damage, located.folder)
        else:
            say(
                f"warning: {located.folder} has no {commit.COMMIT_NAME}: nothing but a checksum of each "
                "tensor vouches for its bytes",
                is_warning=True,
            )

    def finish(self) -> None:
        """Wait for the answer; raises StorageError for damage."""
        fault = self._damage.result() if self._damage else None
        self._thread.shutdown(wait=False)
        if fault is not None:
            raise StorageError(f"{fault}; convert another step")


def _damage(checkpoint: Path) -> str | None:
    """What is wrong with the files of a checkpoint that a conversion reads; None when their digests hold."""
    fault = commit.damage(checkpoint, within="model")
    if fault is not None:
        return fault
    path = commit.data_dir(checkpoint) / TRAINER_NAME
    name = path.relative_to(checkpoint).as_posix()
    told = read_json(checkpoint / commit.COMMIT_NAME)["sha256"].get(name)
    if commit.facts_of(checkpoint, [path])[name].sha256 == told:
        return None
    return f"{path} differs from its digest: the file was damaged or exchanged after it was written"


def _number(folder: Path) -> int:
    match = _STEP.fullmatch(folder.name)
    assert match is not None, folder
    return int(match[1])


def _digest(stored: StoredTensors, name: str) -> str:
    digest = hashlib.sha256()
    for piece in stored.pieces(name):
        digest.update(bytes_of(piece))
    return digest.hexdigest()
