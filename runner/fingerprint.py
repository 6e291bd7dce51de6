"""What a step's outcome depends on, as flat keys and values, and the digest of that.

Pure. Only keys that may change numbers enter; places of files never do, so a run may be moved and its inputs
mounted elsewhere. What an input holds the caller tells: a step's fingerprint, or a digest of files outside.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from pydantic import BaseModel

from onerec.config import class_of, says_nothing_new

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Ingredients = dict[str, object]

PLACES = frozenset(
    {
        "base_model_dir",
        "built_dir",
        "checkpoint_dir",
        "corpus_dirs",
        "given_ids",
        "heldout_dir",
        "hit_rate_dir",
        "interactions",
        "item_map",
        "items",
        "link",
        "model_dir",
        "models",
        "output_dir",
        "path",
        "popularity_dir",
        "resume_from",
        "runs_dir",
        "sources",
        "stage",
        "stage_dir",
        "stop_file",
        "store_dir",
        "target_dir",
        "templates",
        "tensorboard_dir",
        "test_cases",
        "text_encoder_dir",
        "tokenizer_dir",
    }
)
"""Keys of a config.json that only say where something is."""

ORDER_KEYS = frozenset(
    {
        "dataset.local_shuffle_buffer_size",
        "dataset.max_length",
        "dataset.num_epochs",
        "dataset.shuffle_memory_gigabytes",
        "dataset.shuffle_seed",
        "dataset.validation_fraction",
    }
)
"""Keys of a dataset that order and pack it, and so do not enter what is prepared."""


def settings(config: BaseModel) -> Ingredients:
    """The result-class keys of a config, dotted; no places, and no later keys that say nothing new."""
    return dict(_settings(config, prefix=""))


def prepared_settings(config: BaseModel, *, max_sample_length: int) -> Ingredients:
    """The keys of a prepare step that decide what is stored."""
    kept = {key: value for key, value in settings(config).items() if key not in ORDER_KEYS}
    return {**kept, "dataset.max_sample_length": max_sample_length}


def fingerprint(ingredients: Mapping[str, object]) -> str:
    """Sha256 of the canonical JSON of what a step depends on."""
    text = json.dumps(ingredients, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(old: Mapping[str, object], new: Mapping[str, object]) -> list[tuple[str, object, object]]:
    """Keys whose values differ, with the old and the new value; None stands for a key that is not there."""
    keys = sorted(old.keys() | new.keys())
    return [(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)]


def _settings(section: BaseModel, *, prefix: str) -> Iterator[tuple[str, object]]:
    document = section.model_dump(mode="json")
    for key in type(section).model_fields:
        if key in PLACES or class_of(type(section), key) != "result":
            continue
        value = getattr(section, key)
        if says_nothing_new(type(section), key, value):
            continue
        if isinstance(value, BaseModel):
            yield from _settings(value, prefix=f"{prefix}{key}.")
        elif isinstance(value, tuple) and value and all(isinstance(part, BaseModel) for part in value):
            for number, part in enumerate(value):
                yield from _settings(part, prefix=f"{prefix}{key}.{number}.")
        else:
            yield f"{prefix}{key}", document[key]
