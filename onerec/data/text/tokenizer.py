"""Load a model's own tokenizer, prove that it knows the itemic tokens, and tell two tokenizers apart.

Only local folders are read, and no code in them is run.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from onerec.errors import ConfigError
from onerec.vocab import ItemicVocab, level_token

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DOCUMENT_END, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Tokenizer of a Hugging Face folder; raises ConfigError when it cannot be used for training."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; the tokenizer of the model was expected there")
    from transformers import AutoTokenizer  # noqa: PLC0415 - seconds, which readers of names here need not

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as fault:
        raise ConfigError(f"{folder}: no usable tokenizer: {fault}") from fault
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(f"{folder}: the tokenizer has no tokenizer.json form; convert it to one")
    for token in (DOCUMENT_END, TURN_START, TURN_END):
        if tokenizer.backend_tokenizer.token_to_id(token) is None:
            raise ConfigError(f"{folder}: the tokenizer does not know {token}; use a Qwen3 tokenizer")
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """Id of a token that load_tokenizer has seen to exist."""
    return int(tokenizer.backend_tokenizer.token_to_id(token))


def pad_id_of(tokenizer: PreTrainedTokenizerFast) -> int:
    """Id that fills packs up: the tokenizer's pad token, else the document end."""
    pad = tokenizer.pad_token_id
    return token_id(tokenizer, DOCUMENT_END) if pad is None else int(pad)


def check_itemic_tokens(
    tokenizer: PreTrainedTokenizerFast,
    *,
    layer_n: int,
    size_per_layer: int,
    expected: tuple[int, int] | None,
    folder: Path,
) -> ItemicVocab:
    """The itemic vocabulary as the tokenizer has it; raises ConfigError naming a token that is elsewhere."""
    known = tokenizer.get_vocab()
    first = known.get(level_token(0, 0))
    if first is None:
        raise ConfigError(
            f"{folder}: the tokenizer does not know {level_token(0, 0)}; add an expand_vocab stage"
        )
    vocab = ItemicVocab(layer_n=layer_n, size_per_layer=size_per_layer, first_id=first)
    for number, spelling in enumerate(vocab.spellings(), start=first):
        if known.get(spelling) != number:
            raise ConfigError(
                f"{folder}: {spelling} has id {known.get(spelling)}, {number} was expected: the tokenizer "
                f"was not expanded for {layer_n} levels of {size_per_layer} codes; correct [vocab]"
            )
    if expected is not None and expected != (vocab.first_id, vocab.last_id):
        raise ConfigError(
            f"itemic_id_range {list(expected)} is not that of {folder}, [{vocab.first_id}, {vocab.last_id}]; "
            "correct it or leave it out"
        )
    return vocab


def tokenizer_digest(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256 of all that decides ids: vocabulary, merges, added tokens, rules, and the chat template."""
    parts = [tokenizer.backend_tokenizer.to_str(), json.dumps(tokenizer.chat_template), pad_id_of(tokenizer)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def tokenizer_files_digest(folder: Path) -> str:
    """SHA-256 of the tokenizer's files: equal files mean an equal tokenizer, without loading it."""
    digest = hashlib.sha256()
    for path in sorted(folder / name for name in TOKENIZER_FILES):
        if path.is_file():
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
