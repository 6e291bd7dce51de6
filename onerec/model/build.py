"""A Qwen3ForCausalLM as shapes only, ready to be sharded: attention over documents, ties, frozen parts.

Weights come later, from `load`; the model is transformers' own, so that exporting it is the identity.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from onerec.config.memory import configured_checkpointing
from onerec.errors import ConfigError
from onerec.model.activation import checkpoint_layers
from onerec.model.attention import register_document_attention
from onerec.model.hf_folder import CONFIG_NAME, VOCAB_NAME, check_class, read_json
from onerec.model.itemic_rows import train_only_rows
from onerec.model.shard import compute_dtype

if TYPE_CHECKING:
    from onerec.config import Compute, ModelSource, Trainable, Vocab
    from onerec.vocab import ItemicVocab


def read_config(source: ModelSource) -> Qwen3Config:
    """The folder's model configuration with the tie that the manifest asks for.

    Raises ConfigError for a folder that is missing, holds another model class, or whose tie cannot be
    changed.
    """
    folder = Path(source.model_dir)
    stored = read_json(folder / CONFIG_NAME)
    check_class(folder, stored, model_class=source.model_class)
    if stored.get("model_type") != Qwen3Config.model_type:
        raise ConfigError(
            f"{folder} holds a {stored.get('model_type')} model; {source.model_class} needs qwen3"
        )
    config = Qwen3Config.from_pretrained(folder, local_files_only=True)
    if source.use_tie_weights is not None and source.use_tie_weights != config.tie_word_embeddings:
        raise ConfigError(
            f"use_tie_weights = {str(source.use_tie_weights).lower()}, but {folder} says "
            f"tie_word_embeddings = {str(config.tie_word_embeddings).lower()}; make them agree"
        )
    return config


def build_model(
    config: Qwen3Config,
    *,
    trainable: Trainable,
    compute: Compute,
    first_itemic_id: int,
    device: torch.device | None = None,
) -> Qwen3ForCausalLM:
    """The model on the meta device, in the format of its master weights, training what `trainable` says.

    Frozen parameters have no master: they are in the format that `device` (None: the CPU) computes in.
    Raises ConfigError for a first trained row outside the table.
    """
    config._attn_implementation = register_document_attention()  # noqa: SLF001 - no public setter
    dtype = torch.float32 if compute.use_fp32_weight else torch.bfloat16
    with torch.device("meta"):
        model = Qwen3ForCausalLM(config).to(dtype)
    # buffers are computed, not stored, and a meta device computes nothing
    model.model.rotary_emb = type(model.model.rotary_emb)(config=config)
    if trainable.freeze_llm:
        index = trainable.start_optimize_embedding_index
        frozen = compute_dtype(compute, device or torch.device("cpu")) if compute.use_fp32_weight else dtype
        _freeze(model, first_row=first_itemic_id if index is None else index, frozen_dtype=frozen)
    checkpoint_layers(model, configured_checkpointing(compute) or "full")
    model.train()
    return model


def read_vocab(folder: Path, vocab: Vocab) -> ItemicVocab:
    """The itemic ids of an expanded folder; raises ConfigError where it is not expanded as [vocab] says."""
    from onerec.vocab import ItemicVocab  # noqa: PLC0415

    path = folder / VOCAB_NAME
    if not path.exists():
        raise ConfigError(
            f'{folder} has no itemic tokens; put a stage with kind = "expand_vocab" before this one'
        )
    told = json.loads(path.read_text(encoding="utf-8"))
    if (told["itemic_layer_n"], told["vocab_size_per_layer"]) != (
        vocab.itemic_layer_n,
        vocab.vocab_size_per_layer,
    ):
        raise ConfigError(
            f"{folder} was expanded by {told['itemic_layer_n']} x {told['vocab_size_per_layer']} codes, "
            f"[vocab] says {vocab.itemic_layer_n} x {vocab.vocab_size_per_layer}; make them agree"
        )
    return ItemicVocab(vocab.itemic_layer_n, vocab.vocab_size_per_layer, told["first_id"])


def _freeze(model: Qwen3ForCausalLM, *, first_row: int, frozen_dtype: torch.dtype) -> None:
    try:
        train_only_rows(model, first_row=first_row, frozen_dtype=frozen_dtype)
    except ValueError as fault:
        raise ConfigError(str(fault)) from fault
