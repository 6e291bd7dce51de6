"""Spellings, order and ids of itemic tokens, and the alignment of the vocabulary: plain integers and strings.

Nothing here knows a tokenizer or a tensor; whoever builds or reads one asks this file where a token belongs.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass

SID_BEGIN = "<|sid_begin|>"
SID_END = "<|sid_end|>"
LEVEL_NAMES = string.ascii_lowercase
ITEMIC_PATTERN = re.compile(r"<\|sid_(?:begin|end)\|>|<s_[a-z]_(?:0|[1-9][0-9]*)>")
"""Every string that may be an itemic token; whether it is one depends on the sizes of the vocabulary."""


@dataclass(frozen=True)
class ItemicVocab:
    """The itemic tokens of one programme: all of level a, then all of level b, ..., then begin and end.

    `first_id` is the id of `<s_a_0>`: the number of tokens that the base tokenizer knows (151,669 for Qwen3).
    """

    layer_n: int
    size_per_layer: int
    first_id: int

    @property
    def num_tokens(self) -> int:
        """Number of itemic tokens, begin and end included."""
        return self.layer_n * self.size_per_layer + 2

    @property
    def last_id(self) -> int:
        """Id of `<|sid_end|>`, the last itemic token."""
        return self.first_id + self.num_tokens - 1

    @property
    def begin_id(self) -> int:
        """Id of `<|sid_begin|>`."""
        return self.last_id - 1

    def spellings(self) -> list[str]:
        """All itemic tokens in id order."""
        levels = [
            level_token(level, code) for level in range(self.layer_n) for code in range(self.size_per_layer)
        ]
        return [*levels, SID_BEGIN, SID_END]

    def id_of(self, level: int, code: int) -> int:
        """Id of code `code` of level `level` (0 is a); raises ValueError outside the vocabulary."""
        if not (0 <= level < self.layer_n and 0 <= code < self.size_per_layer):
            raise ValueError(
                f"{level_token(level, code)} is outside {self.layer_n} levels of {self.size_per_layer}"
            )
        return self.first_id + level * self.size_per_layer + code

    def ids_of_item(self, codes: tuple[int, ...]) -> list[int]:
        """Ids of one whole item: begin, one code per level, end."""
        return [self.begin_id, *(self.id_of(level, code) for level, code in enumerate(codes)), self.last_id]

    def aligned_size(self, alignment: int) -> int:
        """Rows of the embedding table: the vocabulary rounded up to a multiple of `alignment`."""
        return -(-(self.last_id + 1) // alignment) * alignment


def level_token(level: int, code: int) -> str:
    """Spelling of one code: `<s_b_17>` is level 1, code 17."""
    return f"<s_{LEVEL_NAMES[level]}_{code}>"


def item_text(codes: tuple[int, ...]) -> str:
    """Spelling of one whole item: `<|sid_begin|><s_a_1><s_b_2><s_c_3><|sid_end|>`."""
    return SID_BEGIN + "".join(level_token(level, code) for level, code in enumerate(codes)) + SID_END
