"""Text to token ids, as fast as looking words up, and identical to what the Hugging Face tokenizer gives.

The tokenizer finds its added tokens (special and itemic ones) in the raw text first; what is between them is
normalised, cut into words, and merged word by word. So text may be cut at every added token, free text into
words, and what a piece became once it becomes again. No rule of BPE is repeated here: a new word goes to the
tokenizer's own model, text with strange letters to the tokenizer as a whole, much at once. For a tokenizer
that works in another way, `why_not` says why.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from onerec.data.text.itemic_scan import PADDING, Found, ItemicScan, Places, itemic_vocab_of
from onerec.data.text.label import Int32Array
from onerec.data.text.words import QWEN_PATTERN, is_plain, words_of

Ids = bytes
"""Ids of a piece as int32, one after the other: joining them is fast, and they are small."""
BETWEEN = b"\xff"
"""Stands before each text of a batch; no UTF-8 has this byte."""
ID_BYTES = 4
KEPT_LENGTH = 64
"""Words of more letters and pieces of more bytes are rarely seen twice, and forgotten after their batch."""
KEPT_PIECES = 1 << 17
"""Pieces, and words, that are remembered at most (some 30 MB each); with more, all are forgotten."""
_PRINTABLE = {*range(33, 127), *range(161, 173), *range(174, 256)}
BYTE_LETTERS = {
    byte: 256 + number for number, byte in enumerate(byte for byte in range(256) if byte not in _PRINTABLE)
}
"""Letters that byte-level BPE knows bytes by: printable ones as they are, the others in turn from 256 on."""
POST_PROCESSORS = ("ByteLevel", "TemplateProcessing")
"""They change offsets and add special tokens, neither of which is asked for."""
PLAIN_FLAGS = ("single_word", "lstrip", "rstrip", "normalized")


class Encoder:
    """Encodes text with one tokenizer, for which `why_not` is None."""

    def __init__(self, backend: Tokenizer) -> None:
        tokens = {token.content: number for number, token in backend.get_added_tokens_decoder().items()}
        self._tokens: dict[str, Ids] = {token: _packed([number]) for token, number in tokens.items()}
        self._scan = ItemicScan(itemic_vocab_of(tokens))
        self._model = backend.model
        self._free = Tokenizer(self._model)  # the same model, not a copy of it
        self._free.normalizer, self._free.pre_tokenizer = backend.normalizer, backend.pre_tokenizer
        self._words: dict[str, Ids] = self._tokens.copy()
        self._pieces: dict[bytes, Ids] = {}

    def encode_many(self, texts: Sequence[str]) -> list[Int32Array]:
        """Ids of each text, without special tokens of the tokenizer's own accord."""
        if not texts:
            return []
        encoded = [text.encode() for text in texts]
        raw = BETWEEN + BETWEEN.join(encoded)
        sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
        tokens = _with_breaks(self._scan.find(raw + PADDING), np.cumsum(sizes + 1) - sizes - 1)
        nexts = np.append(tokens.starts[1:], len(raw))
        gaps = np.flatnonzero(nexts > tokens.ends)
        bounds = zip(tokens.ends[gaps].tolist(), nexts[gaps].tolist(), strict=True)
        free = self._pieces_to_ids([raw[start:end] for start, end in bounds])
        return _merged(tokens, gaps, free)

    def _pieces_to_ids(self, pieces: Sequence[bytes]) -> list[Ids]:
        """Ids of pieces of text that lie between two itemic tokens, or between one and an end of the text."""
        if max(len(self._pieces), len(self._words) - len(self._tokens)) > KEPT_PIECES:
            self._pieces, self._words = {}, self._tokens.copy()
        new = set(pieces).difference(self._pieces)
        self._learn(new)
        ids = [self._pieces[piece] for piece in pieces]
        for piece in new:
            if len(piece) > KEPT_LENGTH:
                del self._pieces[piece]
        return ids

    def _learn(self, pieces: Iterable[bytes]) -> None:
        """Remember the ids of new pieces."""
        late = {}
        for piece in pieces:
            words = self._words_of(piece.decode())
            try:
                self._pieces[piece] = self._look_up(words)
            except KeyError:
                late[piece] = words
        new = set(chain.from_iterable(late.values())).difference(self._words)
        self._learn_words(new)
        for piece, words in late.items():
            self._pieces[piece] = self._look_up(words)
        for word in new:
            if len(word) > KEPT_LENGTH:
                del self._words[word]

    def _learn_words(self, new: Iterable[str]) -> None:
        """Remember the ids of new words, and of texts with strange letters."""
        strange = [word for word in new if not is_plain(word)]
        encodings = self._free.encode_batch_fast(strange, add_special_tokens=False)
        found = {word: _packed(encoding.ids) for word, encoding in zip(strange, encodings, strict=True)}
        for word in new:
            if word not in found:
                letters = word.encode().decode("latin-1").translate(BYTE_LETTERS)
                found[word] = _packed([token.id for token in self._model.tokenize(letters)])
        self._words.update(found)

    def _look_up(self, words: Iterable[str]) -> Ids:
        return b"".join(map(self._words.__getitem__, words))

    def _words_of(self, piece: str) -> list[str]:
        """A piece as the tokens in it, and as what of the text between them is encoded on its own."""
        words: list[str] = []
        free, *others = piece.split("<")
        for other in others:
            tail, closing, after = other.partition(">")
            token = f"<{tail}{closing}"
            if token in self._tokens:
                words += [*_apart(free), token]
                free = after
            else:
                free += f"<{other}"
        return [*words, *_apart(free)]


def _apart(free: str) -> list[str]:
    """Free text as what is encoded on its own: words where it is plain, or all of it."""
    return words_of(free) if is_plain(free) else [free]


def _with_breaks(found: Found, breaks: Places) -> Found:
    """The tokens, and between them the breaks between texts as tokens of one byte and without an id."""
    places = np.searchsorted(found.starts, breaks)
    return Found(
        np.insert(found.starts, places, breaks),
        np.insert(found.ends, places, breaks + 1),
        np.insert(found.ids, places, -1),
    )


def _merged(tokens: Found, gaps: Places, free: Sequence[Ids]) -> list[Int32Array]:
    """Ids of each text: those of its tokens, and of the free text that follows some of them."""
    is_token = tokens.ids >= 0
    counts = is_token.astype(np.int64)
    counts[gaps] += np.fromiter(map(len, free), np.int64, len(free)) // ID_BYTES
    starts = np.cumsum(counts) - counts
    ids = np.full(counts.sum(), -1, np.int32)
    ids[starts[is_token]] = tokens.ids[is_token]
    ids[ids < 0] = np.frombuffer(b"".join(free), np.int32)
    borders = [*starts[~is_token].tolist(), len(ids)]
    return [ids[start:end] for start, end in pairwise(borders)]


def _packed(ids: Sequence[int]) -> Ids:
    return array("i", ids).tobytes()


def why_not(backend: Tokenizer, *, must_find: str) -> str | None:
    """Why text of this tokenizer cannot be cut as an Encoder does; None when it can.

    `must_find` has to be an added token: text may be cut after it.
    """
    added = {token.content: token for token in backend.get_added_tokens_decoder().values()}
    fused = next((content for content, token in added.items() if not _stands_alone(token)), None)
    post_processor = _rule(backend.post_processor) or {"type": "TemplateProcessing"}
    reasons = {
        "its model is not plain BPE": type(backend.model).__name__ != "BPE" or backend.model.dropout,
        "its normalizer is not NFC": _rule(backend.normalizer) not in ({"type": "NFC"}, None),
        "its pre-tokenizer is not that of Qwen3": not _is_qwen(_rule(backend.pre_tokenizer)),
        "its post-processor is not that of Qwen3": post_processor["type"] not in POST_PROCESSORS,
        "it encodes special tokens as text": backend.encode_special_tokens,
        f"{must_find} is not one of its added tokens": must_find not in added,
        f"its added token {fused!r} is not found by its own letters alone": fused is not None,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _rule(part: Any) -> dict[str, Any] | None:
    """A part of the tokenizer as tokenizer.json writes it."""
    return None if part is None else json.loads(part.__getstate__())


def _is_qwen(rule: dict[str, Any] | None) -> bool:
    steps = (rule or {}).get("pretokenizers", [])
    split = {"type": "Split", "pattern": {"Regex": QWEN_PATTERN}, "behavior": "Isolated", "invert": False}
    return (
        len(steps) == 2
        and steps[0] == split
        and steps[1].get("type") == "ByteLevel"
        and not steps[1].get("add_prefix_space")
        and not steps[1].get("use_regex")
    )


def _stands_alone(token: Any) -> bool:
    """Whether a token is found wherever it is spelled: no flags, and it can overlap no other token."""
    inner = token.content[1:-1]
    closed = token.content[:1] == "<" and token.content[-1:] == ">" and not {"<", ">"} & set(inner)
    return closed and not any(getattr(token, flag) for flag in PLAIN_FLAGS)
