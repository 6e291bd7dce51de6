"""Find the itemic tokens of UTF-8 text, many texts at once, and give them their ids by arithmetic.

What is an itemic token is decided byte by byte: `<s_b_17>` is one, `<s_b_017>` and `<s_b_8192>` are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from onerec.vocab import SID_BEGIN, SID_END, ItemicVocab, level_token

PADDING = b"\0" * 16
"""Has to follow the text, so that a window at its last byte ends within."""

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]
Windows = npt.NDArray[np.uint64]


def _as_window(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(text.encode(), "little"))


LEVEL_HEAD, LEVEL_MASK = _as_window("s_\0_"), np.uint64(0xFF00FFFF)
"""What follows the `<` of a code, without the name of its level."""


NOWHERE = np.zeros(0, np.int64)


class Found(NamedTuple):
    """Itemic tokens in the order of the text: first byte, byte after the last, id."""

    starts: Places
    ends: Places
    ids: Places


class ItemicScan:
    """Finds the tokens of one vocabulary; of none, nothing."""

    def __init__(self, vocab: ItemicVocab | None) -> None:
        self._vocab = vocab

    def find(self, padded: bytes) -> Found:
        """Itemic tokens in bytes that end with PADDING."""
        vocab = self._vocab
        if vocab is None:
            return Found(NOWHERE, NOWHERE, NOWHERE)
        text = np.frombuffer(padded, np.uint8)
        places = np.flatnonzero(text == ord("<"))
        heads = _eight_bytes_from(padded, places + 1)
        ends, ids = _levels(text, places, heads, vocab)
        for token, number in ((SID_BEGIN, vocab.begin_id), (SID_END, vocab.last_id)):
            hits = _spelled(text, places, heads, token)
            ends[hits] = places[hits] + len(token)
            ids[hits] = number
        found = np.flatnonzero(ends)
        return Found(places[found], ends[found], ids[found])


def _levels(text: Bytes, places: Places, heads: Windows, vocab: ItemicVocab) -> tuple[Places, Places]:
    """End and id of the code that begins at each place; the end is 0 where none does."""
    level = ((heads >> np.uint64(16)) & np.uint64(0xFF)).astype(np.int64) - ord("a")
    first = code = text[places + 5].astype(np.int64) - ord("0")
    close = places + 6
    good = goes_on = (heads & LEVEL_MASK == LEVEL_HEAD) & _is_digit(first)
    for place in range(6, 5 + len(str(vocab.size_per_layer - 1))):
        digit = text[places + place].astype(np.int64) - ord("0")
        goes_on = goes_on & _is_digit(digit)
        code = np.where(goes_on, code * 10 + digit, code)
        close += goes_on
    good &= (level >= 0) & (level < vocab.layer_n) & (code < vocab.size_per_layer)
    good &= ((first > 0) | (close == places + 6)) & (text[close] == ord(">"))
    return (close + 1) * good, vocab.first_id + level * vocab.size_per_layer + code


def _is_digit(value: Places) -> npt.NDArray[np.bool_]:
    return (value >= 0) & (value <= 9)


def _eight_bytes_from(padded: bytes, places: Places) -> Windows:
    """The bytes at each place and the seven after it, the first one lowest."""
    overlapping = np.ndarray((len(padded) - 7,), "<u8", padded, strides=(1,))
    return overlapping[places]


def _spelled(text: Bytes, places: Places, heads: Windows, token: str) -> Places:
    """Which of the places a token stands at; it is longer than eight bytes."""
    hits = np.flatnonzero(heads == _as_window(token[1:9]))
    for offset, byte in enumerate(token[9:].encode(), start=9):
        hits = hits[text[places[hits] + offset] == byte]
    return hits


def itemic_vocab_of(tokens: Mapping[str, int]) -> ItemicVocab | None:
    """The itemic vocabulary that added tokens make up; None where their ids are not in a row."""
    if not {level_token(0, 0), SID_BEGIN, SID_END} <= tokens.keys():
        return None
    first, last = tokens[level_token(0, 0)], tokens[SID_END]
    layers = next(n for n in range(27) if n == 26 or level_token(n, 0) not in tokens)
    vocab = ItemicVocab(layers, (last - 1 - first) // layers, first)
    same = all(
        tokens.get(spelling) == number for number, spelling in enumerate(vocab.spellings(), start=first)
    )
    return vocab if same else None
