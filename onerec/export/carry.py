"""What goes along from the folder that a stage started from: configuration, tokenizer, template and the rest.

Its weights do not: they come from the checkpoint, and from this folder only where it is still the same.
"""

from __future__ import annotations

import filecmp
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import Qwen3Config

from onerec.errors import ConfigError, DriftError, OneRecError, StorageError
from onerec.export.card import CARD_NAME
from onerec.export.place import RECORD_NAME
from onerec.model.hf_folder import CONFIG_NAME, OTHER_WEIGHTS, read_json, write_json
from onerec.model.load import weights_digest
from onerec.progress import say

if TYPE_CHECKING:
    import torch

WRITTEN_ANEW = {CONFIG_NAME, RECORD_NAME, CARD_NAME}
INDEX_SUFFIX = ".index.json"
"""Of files that tell which weights are where."""
SET_ANEW = {"dtype", "torch_dtype", "transformers_version", "_name_or_path"}
"""Keys of a configuration that may differ in a converted folder."""


def read_model_config(model_dir: Path) -> Qwen3Config:
    """The configuration that a stage started with; raises ConfigError where there is none of a Qwen3."""
    found = read_json(model_dir / CONFIG_NAME).get("model_type")
    if found != Qwen3Config.model_type:
        raise ConfigError(
            f"{model_dir / CONFIG_NAME} is of a {found} model, not qwen3; give the Hugging Face folder that "
            "the training started from"
        )
    return Qwen3Config.from_pretrained(model_dir, local_files_only=True)


def check_same_folder(model_dir: Path, *, started_from: str | None, gives_weights: bool) -> None:
    """Compare a folder with the digest of the weights that a stage started from.

    Raises DriftError for another folder where frozen weights are taken from it, and warns where only its
    configuration and tokenizer are.
    """
    if started_from is None or (not gives_weights and not any(model_dir.glob("*.safetensors"))):
        return
    if weights_digest(model_dir) == started_from:
        return
    told = f"{model_dir} holds other weights than those that the stage started from"
    if gives_weights:
        raise DriftError(
            f"{told}, and the checkpoint holds only the rows that trained; give that folder back, then "
            "convert again"
        )
    say(f"warning: {told}; its configuration and tokenizer go along all the same", is_warning=True)


def carry(model_dir: Path, folder: Path, *, dtype: torch.dtype) -> None:
    """Copy what goes along, and write the configuration with the number format of the weights."""
    for path in _carried(model_dir):
        shutil.copyfile(path, folder / path.name)
    config = read_json(model_dir / CONFIG_NAME)
    config.pop("torch_dtype", None)
    write_json(folder / CONFIG_NAME, {**config, "dtype": str(dtype).removeprefix("torch.")})


def prove_carried(model_dir: Path, folder: Path) -> str:
    """What was proved of the files beside the weights, in words.

    Raises StorageError for a copy that differs, OneRecError for a key of the configuration that does.
    """
    carried = _carried(model_dir)
    for path in carried:
        if not filecmp.cmp(path, folder / path.name, shallow=False):
            raise StorageError(f"{folder / path.name} reads back differently than {path}; mend the disk")
    before, after = _settings(model_dir), _settings(folder)
    differing = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    if differing:
        key = differing[0]
        raise OneRecError(
            f"{folder / CONFIG_NAME}: {key} is {after.get(key)!r}, the stage started with {before.get(key)!r}"
        )
    return f"every key of the configuration, and every byte of {len(carried)} files beside it"


def _carried(model_dir: Path) -> list[Path]:
    return [
        path
        for path in sorted(model_dir.iterdir())
        if path.is_file()
        and path.suffix not in OTHER_WEIGHTS
        and not path.name.startswith(".")
        and not path.name.endswith(INDEX_SUFFIX)
        and path.name not in WRITTEN_ANEW
    ]


def _settings(folder: Path) -> dict[str, Any]:
    told = Qwen3Config.from_pretrained(folder, local_files_only=True).to_dict()
    return {key: value for key, value in told.items() if key not in SET_ANEW}
