"""A Qwen3ForCausalLM as shapes only, ready to be sharded: attention over documents, ties, frozen parts.

Weights come later, from `load`; the model is transformers' own, so that exporting it is the identity.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoConfig, Qwen3Config, Qwen3ForCausalLM

from onerec.errors import ConfigError
from onerec.model.attention import register_document_attention
from onerec.model.hf_folder import VOCAB_NAME
from onerec.model.itemic_rows import train_only_rows

if TYPE_CHECKING:
    from onerec.config import Compute, ModelSource, Trainable, Vocab
    from onerec.vocab import ItemicVocab


def read_config(source: ModelSource) -> Qwen3Config:
    """The folder's model configuration with the tie that the manifest asks for.

    Raises ConfigError for a folder that is missing, holds another model class, or whose tie cannot be
    changed.
    """
    folder = Path(source.model_dir)
    if not (folder / "config.json").exists():
        raise ConfigError(f"{folder} has no config.json; give a Hugging Face folder of a Qwen3 model")
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if not isinstance(config, Qwen3Config):
        raise ConfigError(f"{folder} holds a {config.model_type} model; {source.model_class} needs qwen3")
    if source.use_tie_weights is not None and source.use_tie_weights != config.tie_word_embeddings:
        raise ConfigError(
            f"use_tie_weights = {str(source.use_tie_weights).lower()}, but {folder} says "
            f"tie_word_embeddings = {str(config.tie_word_embeddings).lower()}; make them agree"
        )
    return config


def build_model(
    config: Qwen3Config, *, trainable: Trainable, compute: Compute, first_itemic_id: int
) -> Qwen3ForCausalLM:
    """The model on the meta device, in the format of its master weights, training what `trainable` says."""
    config._attn_implementation = register_document_attention()  # noqa: SLF001 - no public setter
    dtype = torch.float32 if compute.use_fp32_weight else torch.bfloat16
    with torch.device("meta"):
        model = Qwen3ForCausalLM(config).to(dtype)
    # buffers are computed, not stored, and a meta device computes nothing
    model.model.rotary_emb = type(model.model.rotary_emb)(config=config)
    if trainable.freeze_llm:
        index = trainable.start_optimize_embedding_index
        _freeze(model, first_row=first_itemic_id if index is None else index)
    if compute.enable_gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
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


def _freeze(model: Qwen3ForCausalLM, *, first_row: int) -> None:
    try:
        train_only_rows(model, first_row=first_row)
    except ValueError as fault:
        raise ConfigError(str(fault)) from fault
