"""A byte-level BPE tokenizer of Qwen3's make, trained on the texts of parquet rows.

Same normalizer, pre-tokenizer, special tokens and template as Qwen3's own; only the merges are learned here.
Itemic spellings are cut out of the texts before training: they become tokens of their own later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers.models import BPE

from onerec.errors import ConfigError, DataError
from onerec.model.hf_folder import CHAT_TEMPLATE_NAME, TOKENIZER_CONFIG_NAME, TOKENIZER_NAME, write_json
from onerec.vocab import ITEMIC_PATTERN

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (
    END_OF_TEXT,
    TURN_START,
    TURN_END,
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""Qwen3's, in its order; they follow the BPE vocabulary and vanish from decoded text when asked to."""
PLAIN_TOKENS = (
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
)
"""Qwen3's tokens that stay in decoded text; they come last."""

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen3's pre-tokenizer: merges never cross the bounds of these pieces."""
MARKUP = re.compile(rf"{ITEMIC_PATTERN.pattern}|<\|[^|<>]*\|>")
CHAT_TEMPLATE_FILE = Path(__file__).with_name("qwen3_chat_template.jinja")
ROWS_AT_A_TIME = 1024


def train_tokenizer(corpus_dirs: tuple[str, ...], *, vocab_size: int) -> Tokenizer:
    """Tokenizer of `vocab_size` tokens in all, trained on every text of the folders' parquet files.

    Raises DataError for folders without rows, ConfigError when the texts do not give that many tokens.
    """
    tokenizer = _untrained()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS) - len(PLAIN_TOKENS),
        min_frequency=1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator(_pieces(corpus_dirs), trainer)
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in SPECIAL_TOKENS]
    )
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in PLAIN_TOKENS])
    found = tokenizer.get_vocab_size()
    if found != vocab_size:
        raise ConfigError(
            f"the texts of {', '.join(corpus_dirs)} give {found} tokens, not {vocab_size}; "
            f"set tokenizer_vocab_size = {found} or less, or give more text"
        )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, *, max_length: int) -> None:
    """Write the files from which transformers loads a Qwen2Tokenizer with Qwen3's template."""
    tokenizer.save(str(folder / TOKENIZER_NAME))
    write_json(folder / TOKENIZER_CONFIG_NAME, tokenizer_config(max_length=max_length))
    write_chat_template(folder)


def write_chat_template(folder: Path) -> None:
    """Put this package's template into a folder."""
    text = CHAT_TEMPLATE_FILE.read_text(encoding="utf-8").removesuffix("\n")
    (folder / CHAT_TEMPLATE_NAME).write_text(text, encoding="utf-8")


def tokenizer_config(*, max_length: int) -> dict[str, Any]:
    """Content of tokenizer_config.json; `max_length` is in tokens."""
    return {
        "tokenizer_class": "Qwen2Tokenizer",
        "add_bos_token": False,
        "add_prefix_space": False,
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": TURN_END,
        "errors": "replace",
        "model_max_length": max_length,
        "pad_token": END_OF_TEXT,
        "split_special_tokens": False,
        "unk_token": None,
    }


def corpus_texts(folder: Path) -> Iterator[str]:
    """Every text of the rows in a folder's parquet files: segments and messages, JSON or nested lists.

    Raises DataError naming a file that has neither, or cannot be read.
    """
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise DataError(f"{folder} has no parquet files to train a tokenizer on; name the folder that has")
    for path in files:
        yield from _texts_of_file(path)


def _texts_of_file(path: Path) -> Iterator[str]:
    try:
        for cell in _cells(path):
            yield from _texts_in(json.loads(cell) if isinstance(cell, str) else cell)
    except (pa.ArrowException, OSError, ValueError) as fault:
        raise DataError(f"{path} cannot be read for the tokenizer ({fault}); repair or remove it") from fault


def _cells(path: Path) -> Iterator[Any]:
    with pq.ParquetFile(path) as file:
        columns = [name for name in ("messages", "segments") if name in file.schema_arrow.names]
        if not columns:
            raise ValueError("it has neither a messages nor a segments column")
        for batch in file.iter_batches(batch_size=ROWS_AT_A_TIME, columns=columns):
            for row in batch.to_pylist():
                yield from row.values()


def _texts_in(value: Any) -> Iterator[str]:
    """Texts in a list of messages or segments; a content is text, a part, or a list of parts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _texts_in(part)
    elif isinstance(value, dict):
        yield from _texts_in(value.get("content", value.get("text")))


def _pieces(corpus_dirs: tuple[str, ...]) -> Iterator[str]:
    for folder in corpus_dirs:
        for text in corpus_texts(Path(folder)):
            yield from filter(None, MARKUP.split(text))


def _untrained() -> Tokenizer:
    tokenizer = Tokenizer(BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(
        add_prefix_space=False, trim_offsets=False, use_regex=False
    )
    return tokenizer
