"""The folder under test: its files, tokenizer and model, each read when it is first asked for, and once.

Opening it refuses what is no Qwen3 folder at all; whatever is wrong with a Qwen3 folder is for the checks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import Qwen3Config, Qwen3ForCausalLM
from transformers.utils import logging

from onerec.data.text.render import Renderer
from onerec.errors import ConfigError
from onerec.model.expand import DTYPES
from onerec.model.hf_folder import CONFIG_NAME, INDEX_NAME, SINGLE_NAME, VOCAB_NAME, read_json, weight_files
from onerec.model.itemic_tokenizer import load_tokenizer
from onerec.model.tensor_file import Stored, stored_tensors
from onerec.model_test.moments import Moments, moments_of
from onerec.vocab import ITEMIC_PATTERN, LEVEL_NAMES, ItemicVocab

if TYPE_CHECKING:
    from onerec.config import TestModelConfig

ARCHITECTURE = "Qwen3ForCausalLM"


@dataclass(frozen=True)
class Placed:
    """A tensor as a safetensors file holds it."""

    file: Path
    stored: Stored


@dataclass(frozen=True)
class Tokens:
    """The itemic tokens of a tokenizer, by spelling, and the levels and codes that these speak of."""

    known: Mapping[str, int]
    layer_n: int
    size_per_layer: int

    @property
    def vocab(self) -> ItemicVocab:
        """Where they belong, if they are all that there should be."""
        return ItemicVocab(self.layer_n, self.size_per_layer, first_id=min(self.known.values()))


class Subject:
    """What the checks look at.

    Raises ConfigError for what is no folder of a Qwen3 model, and for a device that is not there.
    """

    def __init__(self, config: TestModelConfig) -> None:
        self.folder = Path(config.model_dir)
        self.max_new_tokens = config.test.max_new_tokens
        self.device = _device(config.device)
        self._add_think_pattern = config.add_think_pattern
        self.settings = _read_settings(self.folder)

    @cached_property
    def config(self) -> Qwen3Config:
        """The folder's config.json as transformers understands it; raises ConfigError."""
        try:
            return Qwen3Config.from_pretrained(self.folder, local_files_only=True)
        except (StrictDataclassError, TypeError, ValueError) as fault:
            raise ConfigError(f"{self.folder / CONFIG_NAME} is no Qwen3 configuration: {fault}") from fault

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor that a model of this configuration has; a tied head is no tensor of its own.

        Raises ConfigError for sizes of which no model can be made.
        """
        try:
            with torch.device("meta"):
                model = Qwen3ForCausalLM(self.config)
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as fault:
            raise ConfigError(f"{self.folder / CONFIG_NAME}: no model has these sizes: {fault!r}") from fault
        return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}

    @cached_property
    def placed(self) -> dict[str, Placed]:
        """Every tensor of the files; ConfigError for one that is missing, StorageError for a damaged one."""
        return {
            name: Placed(path, stored)
            for path in weight_files(self.folder)
            for name, stored in stored_tensors(path).items()
        }

    @cached_property
    def renderer(self) -> Renderer:
        """The tokenizer with its template; raises ConfigError when it cannot be used."""
        load_tokenizer(self.folder)  # names a damaged file; transformers lets a bare Exception through
        return Renderer(self.folder, add_think_pattern=self._add_think_pattern)

    @cached_property
    def itemic(self) -> Tokens | None:
        """The itemic tokens that the tokenizer has; None when it has none."""
        vocabulary = self.renderer.tokenizer.get_vocab()
        known = {token: number for token, number in vocabulary.items() if ITEMIC_PATTERN.fullmatch(token)}
        if not known:
            return None
        return Tokens(known, *_sizes_in(known))

    @cached_property
    def told_vocab(self) -> dict[str, int] | None:
        """What onerec_vocab.json says, its whole numbers; None when there is none. Raises ConfigError."""
        path = self.folder / VOCAB_NAME
        if not path.exists():
            return None
        return {key: value for key, value in read_json(path).items() if isinstance(value, int)}

    @cached_property
    def dtype(self) -> torch.dtype:
        """Number format that the model runs in: that of its files on a GPU, fp32 on a CPU."""
        if self.device.type == "cpu":
            return torch.float32
        bytes_of: Counter[str] = Counter()
        for placed in self.placed.values():
            bytes_of[placed.stored.dtype] += placed.stored.end - placed.stored.begin
        [(most, _)] = bytes_of.most_common(1)
        return DTYPES.get(most, torch.float32)

    @cached_property
    def loaded(self) -> tuple[Qwen3ForCausalLM, dict[str, Any]]:
        """The model, and what transformers tells about its loading; raises ConfigError without memory."""
        logging.disable_progress_bar()  # one bar of one shard would only clutter the log
        model: Qwen3ForCausalLM
        model, told = Qwen3ForCausalLM.from_pretrained(
            self.folder, local_files_only=True, dtype=self.dtype, output_loading_info=True
        )
        try:
            return model.to(self.device).eval(), told
        except torch.OutOfMemoryError as fault:
            raise ConfigError(
                f"{self.folder} does not fit into the memory of {torch.cuda.get_device_name()}; "
                "give --device cpu, or free the GPU"
            ) from fault

    @property
    def model(self) -> Qwen3ForCausalLM:
        """The model under test, on its device."""
        return self.loaded[0]

    @cached_property
    def moments(self) -> dict[str, Moments]:
        """Figures of every parameter, by name."""
        return {name: moments_of(parameter) for name, parameter in self.model.named_parameters()}

    @property
    def vocab(self) -> ItemicVocab:
        """The itemic vocabulary, once its check has passed."""
        assert self.itemic is not None, "checks that ask for it need that of the itemic tokens"
        return self.itemic.vocab

    @property
    def is_tied(self) -> bool:
        """Whether the configuration makes embedding and head one table."""
        return bool(self.config.tie_word_embeddings)

    def file_of(self, name: str) -> str:
        """Name of the file that holds a tensor."""
        return self.placed[name].file.name

    def ids_of(self, text: str) -> list[int]:
        """Token ids of a text, nothing added."""
        encoded = self.renderer.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        return list(encoded.ids)

    def chat_text(
        self, messages: list[dict[str, str]], *, enable_thinking: bool = True, answered: bool = False
    ) -> str:
        """A chat in the model's template: up to where the assistant begins, or with all turns `answered`."""
        text: str = self.renderer.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=not answered, enable_thinking=enable_thinking
        )
        return text


def _device(wanted: str) -> torch.device:
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise ConfigError("--device cuda, but torch sees no GPU; give --device cpu, or look at nvidia-smi")
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


def _read_settings(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG_NAME).exists():
        raise ConfigError(
            f"{folder} has no {CONFIG_NAME}; give a Hugging Face folder, such as one converted/"
        )
    settings = read_json(folder / CONFIG_NAME)
    classes = settings.get("architectures") or []
    if settings.get("model_type") != Qwen3Config.model_type or ARCHITECTURE not in classes:
        raise ConfigError(
            f"{folder / CONFIG_NAME} is of {', '.join(map(str, classes)) or 'no architecture'} (model_type "
            f"{settings.get('model_type')}); the model test knows {ARCHITECTURE}: give a Qwen3 folder"
        )
    if settings.get("quantization_config"):
        raise ConfigError(
            f"{folder / CONFIG_NAME} has a quantization_config; the model test knows bf16, fp16 and fp32: "
            "give the folder that it was quantised from"
        )
    if not any((folder / name).exists() for name in (INDEX_NAME, SINGLE_NAME)):
        raise ConfigError(
            f"{folder} has neither {SINGLE_NAME} nor {INDEX_NAME}; give a folder with safetensors weights"
        )
    return settings


def _sizes_in(known: Mapping[str, int]) -> tuple[int, int]:
    """Levels and codes per level that the spellings themselves speak of."""
    codes = [token[3:-1].split("_") for token in known if token.startswith("<s_")]
    levels = [LEVEL_NAMES.index(level) for level, _ in codes]
    return max(levels, default=0) + 1, max((int(code) for _, code in codes), default=0) + 1
