"""Token ids back to text in runs of one kind, each trained or not: what a person reads in a preview.

Bytes that make no character, as where a long text is split, are escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from typing import Literal, TypedDict

from tokenizers import Tokenizer, pre_tokenizers

from onerec.data.text.label import IGNORED

Kind = Literal["text", "itemic", "special"]


class Part(TypedDict):
    """Consecutive tokens of one kind, all of them trained or none."""

    text: str
    kind: Kind
    trained: bool
    tokens: int


class PartReader:
    """Reads the samples of one tokenizer that has these itemic ids."""

    def __init__(self, tokenizer: Tokenizer, itemic_ids: range) -> None:
        self._tokenizer = tokenizer
        self.itemic_ids = itemic_ids
        self._added = {
            number: token.content for number, token in tokenizer.get_added_tokens_decoder().items()
        }

    def parts_of(self, input_ids: Sequence[int], labels: Sequence[int]) -> list[Part]:
        """The parts of one document; a token is trained when the label of the position before it is."""
        trained = [False, *(label != IGNORED for label in labels[:-1])]
        marked = zip(input_ids, trained, strict=True)
        runs = groupby(marked, key=lambda token: (self._kind_of(token[0]), token[1]))
        return [self._part([number for number, _ in run], *key) for key, run in runs]

    def _kind_of(self, number: int) -> Kind:
        if number in self.itemic_ids:
            return "itemic"
        return "special" if number in self._added else "text"

    def _part(self, ids: list[int], kind: Kind, trained: bool) -> Part:
        data = b"".join(self._bytes_of(number) for number in ids)
        text = data.decode("utf-8", "backslashreplace")
        return Part(text=text, kind=kind, trained=trained, tokens=len(ids))

    def _bytes_of(self, number: int) -> bytes:
        if number in self._added:
            return self._added[number].encode()
        token = self._tokenizer.id_to_token(number) or ""
        if all(mark in self._byte_of for mark in token):
            return bytes(self._byte_of[mark] for mark in token)
        return self._tokenizer.decode([number], skip_special_tokens=False).encode()  # not byte-level

    @cached_property
    def _byte_of(self) -> dict[str, int]:
        """The byte that each character of a byte-level token stands for (GPT-2's table)."""
        printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        others = [byte for byte in range(256) if byte not in printable]
        table = {chr(byte): byte for byte in printable} | {
            chr(256 + at): byte for at, byte in enumerate(others)
        }
        assert sorted(table) == sorted(pre_tokenizers.ByteLevel.alphabet())
        return table
