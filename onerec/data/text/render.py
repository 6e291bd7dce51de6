"""Turn a row into token ids and the spans that are trained, with the model's own chat template and tokenizer.

Ids are those of the Hugging Face tokenizer on the rendered text: a row that spells a special token gets that
token, as it would there. Spans come from where the text was put together, never from searching ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding

from onerec.data.source.validate import Row, RowError
from onerec.data.text.chat import ChatTemplate, Messages, Span
from onerec.data.text.encode import Encoder, why_not
from onerec.data.text.label import Int32Array
from onerec.data.text.think import with_think_pattern
from onerec.data.text.tokenizer import DOCUMENT_END, TURN_END, load_tokenizer, pad_id_of, token_id
from onerec.data.text.words import can_be_cut


@dataclass(frozen=True, eq=False)
class Rendered:
    """Token ids of one sample, its document end included, and the trained spans [start, end) of them."""

    input_ids: Int32Array
    spans: list[Span]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rendered):
            return NotImplemented
        return self.spans == other.spans and np.array_equal(self.input_ids, other.input_ids)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Script:
    """The text of one sample, and what of it is trained: character spans, or None for all of it."""

    text: str
    spans: tuple[Span, ...] | None
    trains_document_end: bool

    def borders(self) -> list[int]:
        """Where its text begins, where each span begins and ends, where the text ends."""
        return [0, *chain.from_iterable(self.spans or ()), len(self.text)]

    def can_be_cut(self) -> bool:
        """Whether encoding its parts between borders one by one gives the ids of the whole.

        A span ends after a token that is found whatever follows it.
        """
        return all(can_be_cut(self.text, start) for start, _ in self.spans or ())


class Renderer:
    """Renders rows for one tokenizer folder; raises ConfigError when its tokenizer is unusable.

    `tokenizer` is that of the folder where it is loaded already; anything with its chat template and backend.
    `slow_because` tells why every text of this tokenizer goes through it as a whole, None when none has to.
    """

    def __init__(
        self,
        tokenizer_dir: str | Path,
        *,
        only_assistant_loss: bool = True,
        add_think_pattern: bool = False,
        tokenizer: Any = None,
    ) -> None:
        self.tokenizer = tokenizer or load_tokenizer(Path(tokenizer_dir))
        self.document_end_id = token_id(self.tokenizer, DOCUMENT_END)
        self._document_end = np.array([self.document_end_id], np.int32)
        self.pad_id = pad_id_of(self.tokenizer)
        self._backend = self.tokenizer.backend_tokenizer
        self.slow_because = why_not(self._backend, must_find=TURN_END)
        self._encoder = None if self.slow_because else Encoder(self._backend)
        self._template = ChatTemplate(self.tokenizer, tokenizer_dir)
        self._only_assistant_loss = only_assistant_loss
        self._add_think_pattern = add_think_pattern

    def render(self, row: Row) -> Rendered:
        """Ids and trained spans of one row; raises RowError when it cannot be trained on."""
        rendered = self.render_many([row])[0]
        if isinstance(rendered, RowError):
            raise rendered
        return rendered

    def render_many(self, rows: Sequence[Row]) -> list[Rendered | RowError]:
        """The same for many rows, tokenised together; a row that cannot be trained on gives its RowError."""
        results = self._scripts_of(rows)
        scripts = [script for script in results if isinstance(script, Script)]
        rendered = iter(self.render_scripts(scripts))
        return [next(rendered) if isinstance(result, Script) else result for result in results]

    def script_of(self, row: Row) -> Script:
        """Text of one row and the characters of it that are trained; raises RowError."""
        [script] = self._scripts_of([row])
        if isinstance(script, RowError):
            raise script
        return script

    def chat_text(self, messages: Messages) -> str:
        """A conversation as the model's chat template writes it; raises RowError when it refuses."""
        return self._template.text_of(messages)

    def render_scripts(self, scripts: Sequence[Script]) -> list[Rendered | RowError]:
        """Ids and spans of texts; a text that trains nothing gives a RowError."""
        parts = [self._parts_of(script) for script in scripts]
        whole = [script.text for script, some in zip(scripts, parts, strict=True) if not some]
        encodings = iter(self._backend.encode_batch(whole, add_special_tokens=False))
        encoded = iter(self._encoder.encode_many(list(chain.from_iterable(parts))) if self._encoder else ())
        return [
            self._from_parts(script, list(islice(encoded, len(some))))
            if some
            else self._from_encoding(script, next(encodings))
            for script, some in zip(scripts, parts, strict=True)
        ]

    def _scripts_of(self, rows: Sequence[Row]) -> list[Script | RowError]:
        chats = [self._turns_of(row) for row in rows if row.messages is not None]
        texts = iter(zip(self._template.texts_of(chats), chats, strict=True))
        return [
            self._text_script(row) if row.messages is None else self._chat_script(*next(texts))
            for row in rows
        ]

    def _text_script(self, row: Row) -> Script:
        return Script("".join(row.segments or ()), spans=None, trains_document_end=True)

    def _turns_of(self, row: Row) -> Messages:
        messages = row.messages or ()
        return with_think_pattern(messages) if self._add_think_pattern else messages

    def _chat_script(self, text: str | RowError, chat: Messages) -> Script | RowError:
        if isinstance(text, RowError):
            return text
        try:
            spans = self._template.turns_in(text, chat) if self._only_assistant_loss else None
        except RowError as fault:
            return fault
        return Script(text, spans=spans, trains_document_end=False)

    def _parts_of(self, script: Script) -> list[str]:
        """Its text, cut at its borders; nothing where that might change the ids."""
        if self._encoder is None or not script.can_be_cut():
            return []
        return [script.text[start:end] for start, end in pairwise(script.borders())]

    def _from_parts(self, script: Script, parts: Sequence[Int32Array]) -> Rendered | RowError:
        borders = list(accumulate(map(len, parts)))  # without that at the beginning of the text
        spans = list(zip(borders[:-1:2], borders[1:-1:2], strict=True))
        return self._rendered(script, np.concatenate([*parts, self._document_end]), spans)

    def _from_encoding(self, script: Script, encoding: Encoding) -> Rendered | RowError:
        size = len(script.text)
        spans = [token_span(encoding, span, characters=size) for span in script.spans or ()]
        return self._rendered(script, np.array([*encoding.ids, self.document_end_id], np.int32), spans)

    def _rendered(self, script: Script, ids: Int32Array, spans: list[Span]) -> Rendered | RowError:
        if script.spans is None:
            spans = [(1, len(ids) if script.trains_document_end else len(ids) - 1)]
        spans = [(start, end) for start, end in spans if start < end]
        if len(ids) == 1 or not spans:
            return RowError("nothing in it is trained", script.text)
        return Rendered(input_ids=ids, spans=spans)


def token_span(encoding: Encoding, span: Span, *, characters: int) -> Span:
    """Tokens of a character span; a token that lies on a border belongs to where its first character is."""
    start, end = (_first_token_from(encoding, border, characters) for border in span)
    return start, end


def _first_token_from(encoding: Encoding, border: int, characters: int) -> int:
    for position in range(border, characters):  # normalisation leaves some characters without a token
        token = encoding.char_to_token(position)
        if token is not None:
            first = encoding.token_to_chars(token)
            return int(token) + (first is not None and first[0] < border)
    return len(encoding.ids)
