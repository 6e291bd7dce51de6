"""Itemic tokens in a tokenizer: whether they are there, and adding them.

Works on the files themselves, so that everything else in them stays as it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from onerec.errors import ConfigError
from onerec.model.hf_folder import TOKENIZER_CONFIG_NAME, TOKENIZER_NAME, read_json, write_json
from onerec.vocab import ITEMIC_PATTERN, ItemicVocab

ADDED_TOKENS_NAME = "added_tokens.json"
SHOWN = 3
"""Tokens named in a message."""


def load_tokenizer(folder: Path) -> Tokenizer:
    """The folder's tokenizer; raises ConfigError when there is none that can be read."""
    path = folder / TOKENIZER_NAME
    if not path.is_file():
        return _from_slow_files(folder)
    try:
        return Tokenizer.from_file(str(path))
    except Exception as fault:  # tokenizers raises nothing narrower
        raise ConfigError(f"{path} cannot be read ({fault}); give a Hugging Face tokenizer") from fault


def itemic_vocab(tokenizer: Tokenizer, *, layer_n: int, size_per_layer: int) -> tuple[ItemicVocab, bool]:
    """The itemic ids for this tokenizer, and whether it already has them.

    Raises ConfigError, with the difference, when it has other itemic tokens or the same at other ids.
    """
    known = tokenizer.get_vocab(with_added_tokens=True)
    present = {token: number for token, number in known.items() if ITEMIC_PATTERN.fullmatch(token)}
    if not present:
        return ItemicVocab(layer_n, size_per_layer, first_id=max(known.values()) + 1), False
    vocab = ItemicVocab(layer_n, size_per_layer, first_id=min(present.values()))
    wanted = {token: number for number, token in enumerate(vocab.spellings(), start=vocab.first_id)}
    if present != wanted:
        raise ConfigError(
            f"the tokenizer already has {len(present):,} itemic tokens, but not the {len(wanted):,} of "
            f"{layer_n} levels of {size_per_layer} codes: {_difference(present, wanted)}; set [vocab] to "
            "what the model was made with, or start from a model without itemic tokens"
        )
    return vocab, True


def add_itemic_tokens(tokenizer: Tokenizer, vocab: ItemicVocab) -> None:
    """Add all itemic tokens at their ids: never split, never stripped, and kept by skip_special_tokens."""
    spellings = vocab.spellings()
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in spellings])
    ids = [tokenizer.token_to_id(text) for text in spellings]
    assert ids == list(range(vocab.first_id, vocab.last_id + 1)), (
        "tokens are numbered in the order they are added"
    )


def save_expanded(tokenizer: Tokenizer, vocab: ItemicVocab, folder: Path) -> None:
    """Rewrite the tokenizer files of a folder that holds copies of the base tokenizer's."""
    tokenizer.save(str(folder / TOKENIZER_NAME))
    ids = dict(zip(vocab.spellings(), range(vocab.first_id, vocab.last_id + 1), strict=True))
    settings = folder / TOKENIZER_CONFIG_NAME
    if settings.is_file() and "added_tokens_decoder" in (content := read_json(settings)):
        content["added_tokens_decoder"] |= {str(number): _flags(text) for text, number in ids.items()}
        write_json(settings, content)
    added = folder / ADDED_TOKENS_NAME
    if added.is_file():
        write_json(added, read_json(added) | ids)


def _flags(text: str) -> dict[str, Any]:
    return {
        "content": text,
        "lstrip": False,
        "normalized": False,
        "rstrip": False,
        "single_word": False,
        "special": False,
    }


def _from_slow_files(folder: Path) -> Tokenizer:
    """Folders that have only vocab.json and merges.txt: transformers knows how to put them together."""
    from transformers import AutoTokenizer  # noqa: PLC0415 seconds to import, and rarely needed

    try:
        loaded = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as fault:
        raise ConfigError(
            f"{folder} holds no tokenizer ({fault}); give a complete Hugging Face folder"
        ) from fault
    tokenizer: Tokenizer = loaded.backend_tokenizer
    return tokenizer


def _difference(present: dict[str, int], wanted: dict[str, int]) -> str:
    missing = [token for token in wanted if token not in present]
    unknown = sorted((token for token in present if token not in wanted), key=lambda token: present[token])
    moved = [
        f"{token} at {present[token]}, not {wanted[token]}"
        for token in wanted
        if token in present and present[token] != wanted[token]
    ]
    told = [("missing", missing), ("not wanted", unknown), ("elsewhere", moved)]
    return "; ".join(f"{len(tokens):,} {kind} ({_some(tokens)})" for kind, tokens in told if tokens)


def _some(tokens: list[str]) -> str:
    return ", ".join(tokens[:SHOWN]) + (", ..." if len(tokens) > SHOWN else "")
