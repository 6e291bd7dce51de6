"""What stands in a Hugging Face model folder: config, tokenizer, weights and the rest; which file is what.

Reads small JSON files only; tensors are the business of those who ask.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onerec.errors import ConfigError
from onerec.vocab import ItemicVocab

CONFIG_NAME = "config.json"
GENERATION_CONFIG_NAME = "generation_config.json"
INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"
TOKENIZER_NAME = "tokenizer.json"
TOKENIZER_CONFIG_NAME = "tokenizer_config.json"
CHAT_TEMPLATE_NAME = "chat_template.jinja"
VOCAB_NAME = "onerec_vocab.json"
"""Range of the itemic ids, for readers that do not want to load a tokenizer."""

EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"
OTHER_WEIGHTS = {".bin", ".pt", ".pth", ".h5", ".msgpack", ".gguf", ".onnx", ".ckpt", ".safetensors"}
"""Suffixes of files that hold weights; those that are not read would be stale copies in a new folder."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; raises ConfigError naming the file when it is missing or is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as fault:
        raise ConfigError(f"{path} is missing; give a complete Hugging Face folder") from fault
    except ValueError as fault:
        raise ConfigError(f"{path} is not JSON ({fault}); give a complete Hugging Face folder") from fault
    if not isinstance(document, dict):
        raise ConfigError(f"{path} holds no JSON object; give a complete Hugging Face folder")
    return document


def read_itemic_vocab(folder: Path) -> ItemicVocab:
    """The itemic tokens that an expanded model folder says it has; raises ConfigError for one without."""
    if not (folder / VOCAB_NAME).is_file():
        raise ConfigError(
            f"{folder} has no {VOCAB_NAME}, so no itemic tokens; give the export of a training stage"
        )
    told = read_json(folder / VOCAB_NAME)
    return ItemicVocab(told["itemic_layer_n"], told["vocab_size_per_layer"], told["first_id"])


def write_json(path: Path, document: object) -> None:
    """Indented JSON in the order given."""
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def check_class(folder: Path, config: dict[str, Any], *, model_class: str) -> None:
    """Raise ConfigError when the folder's config names another architecture than the one asked for."""
    found = config.get("architectures") or []
    if model_class not in found:
        raise ConfigError(
            f"{folder / CONFIG_NAME} is of {', '.join(found) or 'no architecture'}, not {model_class}; "
            "set model.model_class, or give another folder"
        )


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files that make the model, in name order; ConfigError when one or all are missing."""
    index = folder / INDEX_NAME
    if index.exists():
        names = sorted(set(read_json(index)["weight_map"].values()))
    elif (folder / SINGLE_NAME).exists():
        names = [SINGLE_NAME]
    else:
        raise ConfigError(
            f"{folder} has neither {SINGLE_NAME} nor {INDEX_NAME}; "
            "give a Hugging Face folder with safetensors weights"
        )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ConfigError(
            f"{folder} lacks {', '.join(missing)}, which its {INDEX_NAME} names; fetch it again"
        )
    return tuple(folder / name for name in names)


def carried_files(folder: Path) -> tuple[list[Path], list[str]]:
    """Files to carry over, and names of those left behind: weights nobody reads, folders, hidden files."""
    weights = {path.name for path in weight_files(folder)}
    carried, left = [], []
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix not in OTHER_WEIGHTS and not path.name.startswith("."):
            carried.append(path)
        elif path.name not in weights:
            left.append(path.name)
    return carried, left
