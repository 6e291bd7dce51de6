"""Sizes of the model that a manifest trains, from its base folder's config.json or its init_model stage.

Weights and tokenizers are not looked at: this answers at once, and tells nothing about what is not there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onerec.config.memory import ModelSizes
from onerec.vocab import ItemicVocab
from runner.manifest.tables import InitModelStage, Manifest, TrainStage

VOCAB_NAME = "onerec_vocab.json"
"""What the trainer's expansion leaves in a model folder."""


def sizes_of(manifest: Manifest) -> ModelSizes | None:
    """Sizes of the expanded model; None when neither folder nor stage tells them."""
    made = init_stage(manifest)
    if made is not None:
        return _of_stage(manifest, made)
    if manifest.model.base_model_dir is None:
        return None
    config = read_config(Path(manifest.model.base_model_dir))
    folder = Path(manifest.model.base_model_dir)
    return _of_config(manifest, config, folder=folder) if isinstance(config, dict) else None


def init_stage(manifest: Manifest) -> InitModelStage | None:
    """The stage that makes the model from scratch; None where a base model is given."""
    return next((stage for stage in manifest.stages.values() if stage.kind == "init_model"), None)


def read_config(folder: Path) -> Any:
    """A model folder's config.json; None where it cannot be read."""
    try:
        return json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return None


def expanded_rows(manifest: Manifest, first_id: int) -> int:
    """Rows of the table once the itemic tokens stand from `first_id` on."""
    vocab = manifest.vocab
    itemic = ItemicVocab(vocab.itemic_layer_n, vocab.vocab_size_per_layer, first_id)
    return itemic.aligned_size(vocab.alignment)


def itemic_rows(manifest: Manifest, sizes: ModelSizes) -> int:
    """Rows that stage 1 trains by default: the itemic tokens and the padding after them, at most."""
    vocab = manifest.vocab
    itemic = ItemicVocab(vocab.itemic_layer_n, vocab.vocab_size_per_layer, 0)
    return min(sizes.rows, itemic.num_tokens + vocab.alignment)


def trained_rows(manifest: Manifest, stage: TrainStage, sizes: ModelSizes) -> int | None:
    """Rows of each table that train with freeze_llm; None where everything trains."""
    if not stage.freeze_llm:
        return None
    first = stage.start_optimize_embedding_index
    return itemic_rows(manifest, sizes) if first is None else max(0, sizes.rows - first)


def _of_stage(manifest: Manifest, stage: InitModelStage) -> ModelSizes:
    return ModelSizes(
        hidden=stage.hidden_size,
        layers=stage.num_hidden_layers,
        heads=stage.num_attention_heads,
        kv_heads=stage.num_key_value_heads,
        head_dim=stage.head_dim,
        intermediate=stage.intermediate_size,
        rows=expanded_rows(manifest, stage.tokenizer_vocab_size),
        tied=manifest.model.use_tie_weights is not False,
    )


def _of_config(manifest: Manifest, config: dict[str, Any], *, folder: Path) -> ModelSizes | None:
    try:
        rows = int(config["vocab_size"])
        return ModelSizes(
            hidden=int(config["hidden_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            kv_heads=int(config["num_key_value_heads"]),
            head_dim=int(config["head_dim"]),
            intermediate=int(config["intermediate_size"]),
            rows=rows if (folder / VOCAB_NAME).exists() else expanded_rows(manifest, rows),
            tied=bool(config.get("tie_word_embeddings", False)),
        )
    except (KeyError, TypeError, ValueError):
        return None
