"""Prove a written Hugging Face folder: names, shapes, ties, every byte, equal logits, and that it loads.

What is compared with was taken from the checkpoint while the folder was written; nothing here writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from transformers import AutoConfig, AutoModelForCausalLM, Qwen3Config
from transformers.utils import logging as transformers_logging

from onerec.errors import ConfigError, OneRecError, StorageError
from onerec.export.logits import walk
from onerec.export.source import FolderWeights
from onerec.lane import Lane
from onerec.model.hf_folder import HEAD
from onerec.model.load import tensor_files
from onerec.model.safetensors_writer import bytes_of

if TYPE_CHECKING:
    from pathlib import Path

    from onerec.export.source import Weights


def check_fits(weights: Weights, config: Qwen3Config, *, whose: str) -> None:
    """Raise ConfigError unless names and shapes are those of the model that a configuration describes."""
    expected = expected_shapes(config)
    found = {name: weights.shape(name) for name in weights.names()}
    lacking, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if lacking or extra:
        what = f"lacks {lacking[0]}" if lacking else f"has {extra[0]}, which the model lacks"
        raise ConfigError(
            f"{whose} {what} ({len(lacking)} lacking, {len(extra)} too many): it is of another model; "
            "give the folder that the training started from"
        )
    for name, shape in expected.items():
        if found[name] != shape:
            raise ConfigError(
                f"{whose}: {name} has shape {found[name]}, the configuration says {shape}: it is of another "
                "model or vocabulary; give the folder that the training started from"
            )


def expected_shapes(config: Qwen3Config) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor that transformers expects in a folder; a tied head is none."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def prove(folder: Path, *, digests: Mapping[str, str], logits: torch.Tensor) -> dict[str, str]:
    """What was proved, in words, by what; `digests` and `logits` are those of the checkpoint's cast tensors.

    Raises StorageError or OneRecError naming what is wrong.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    weights = FolderWeights(tensor_files(folder))
    if config.tie_word_embeddings and HEAD in weights.files:
        raise OneRecError(
            f"{weights.files[HEAD]} holds {HEAD}, which the configuration ties to the embedding"
        )
    try:
        check_fits(weights, config, whose=str(folder))
    except ConfigError as fault:
        raise OneRecError(f"what was written is not what transformers expects: {fault}") from fault
    with Lane() as lane:
        again = walk(weights, config=config, visit=_Comparing(weights, digests, lane))
    if not torch.equal(again, logits):
        difference = float((again - logits).abs().max())
        raise OneRecError(
            f"{folder} gives other logits than the checkpoint, by up to {difference:.3g}: its config differs"
        )
    _load(folder)
    return {
        "tensors": "names, shapes and ties as transformers expects; sha256 of each that of its cast source",
        "logits": f"bit-identical to the checkpoint's on {again.shape[0]} tokens",
        "loading": "from_pretrained, no key missing, unexpected or mismatched",
    }


class _Comparing:
    """Compares the digest of every tensor that is visited, a little behind the visit."""

    def __init__(self, weights: FolderWeights, digests: Mapping[str, str], lane: Lane) -> None:
        self._files, self._digests, self._lane = weights.files, digests, lane

    def __call__(self, name: str, pieces: Iterator[torch.Tensor]) -> None:
        digest = hashlib.sha256()
        for piece in pieces:
            self._lane.do(digest.update, bytes_of(piece))
        self._lane.do(self._compare, name, digest)

    def _compare(self, name: str, digest: hashlib._Hash) -> None:
        if digest.hexdigest() != self._digests[name]:
            raise StorageError(
                f"{self._files[name]}: {name} reads back differently than it was written; the disk is failing"
            )


def _load(folder: Path) -> None:
    """Load as users do; weights stay mapped from their files, so this takes little memory."""
    shows_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        _, told = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
    finally:
        if shows_bars:
            transformers_logging.enable_progress_bar()
    wrong = {kind: sorted(map(str, names)) for kind, names in told.items() if names}
    if wrong:
        raise OneRecError(f"{folder} does not load cleanly with from_pretrained: {wrong}")
