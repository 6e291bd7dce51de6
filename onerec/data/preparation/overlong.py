"""Tell from the length of a text alone that it has more tokens than a sample may have.

Only for tokenizers where that is proved: BPE over all bytes, at most NFC before it, nothing thrown away.
Then every token stands for a known number of bytes at most, and a text of ten megabytes need not be
tokenised to be dropped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer, pre_tokenizers

from onerec.data.source.validate import Row

LARGE_CHARACTERS = 200_000
"""Rows of less are tokenised faster than the vocabulary is looked through."""
NFC_SHRINKS = 3
"""NFC makes UTF-8 at most this many times shorter: three Hangul jamo of 3 bytes become one syllable of 3."""


@dataclass(frozen=True)
class TokenBound:
    """The most bytes of text that one token stands for; None where nothing is proved."""

    bytes_per_token: int | None

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> TokenBound:
        """The bound of a tokenizer."""
        return _bound_of(tokenizer)

    def exceeds(self, text: str, limit: int) -> bool:
        """Whether a text has surely more than `limit` tokens."""
        if self.bytes_per_token is None:
            return False
        shrinks = 1 if text.isascii() else NFC_SHRINKS
        return len(text.encode()) > limit * self.bytes_per_token * shrinks


def is_large(row: Row) -> bool:
    """Whether a row is so long that it is worth a closer look."""
    texts = row.segments or [message.content for message in row.messages or ()]
    return sum(map(len, texts)) > LARGE_CHARACTERS


@lru_cache(maxsize=2)
def _bound_of(tokenizer: Tokenizer) -> TokenBound:
    rules = json.loads(tokenizer.to_str())
    if not (_keeps_all(rules) and _knows_all_bytes(rules)):
        return TokenBound(None)
    merged = max(map(len, rules["model"]["vocab"]))  # byte-level: a character of the vocabulary is a byte
    added = max((len(token["content"].encode()) for token in rules["added_tokens"]), default=0)
    return TokenBound(max(merged, added * NFC_SHRINKS))


def _keeps_all(rules: dict[str, Any]) -> bool:
    """Whether no rule before the BPE takes anything out of a text but what NFC does."""
    normalizer, splitter = rules["normalizer"], rules["pre_tokenizer"] or {"type": None}
    steps = splitter["pretokenizers"] if splitter["type"] == "Sequence" else [splitter]
    return (
        (normalizer is None or normalizer["type"] == "NFC")
        and all(
            step["type"] in {"Split", "ByteLevel"} and step.get("behavior") != "Removed" for step in steps
        )
        and any(step["type"] == "ByteLevel" for step in steps)
        and not any(token["lstrip"] or token["rstrip"] for token in rules["added_tokens"])
    )


def _knows_all_bytes(rules: dict[str, Any]) -> bool:
    model = rules["model"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return model["type"] == "BPE" and all(byte in model["vocab"] for byte in alphabet)
