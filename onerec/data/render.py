"""Turn a row into token ids and the spans that are trained, with the model's own chat template and tokenizer.

The template is run as it is, never imitated, and ids are those of the Hugging Face tokenizer on the rendered
text: a row that spells a special token gets that token, as it would there. It opens and closes no turn by it,
though: turns are found in the template's own characters alone, never by searching a row's text or ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import TemplateError
from tokenizers import Encoding

from onerec.data.think import with_think_pattern
from onerec.data.tokenizer import DOCUMENT_END, TURN_END, TURN_START, load_tokenizer, pad_id_of, token_id
from onerec.data.validate import Message, Row, RowError
from onerec.errors import ConfigError

HEADER = f"{TURN_START}assistant\n"
MARK, DISGUISE = "|", "¦"
"""Every turn marker has a MARK in it; with its marks disguised, a row's text can spell none."""

Span = tuple[int, int]


@dataclass(frozen=True)
class Rendered:
    """Token ids of one sample, its document end included, and the trained spans [start, end) of them."""

    input_ids: list[int]
    spans: list[Span]


@dataclass(frozen=True)
class Script:
    """The text of one sample, and what of it is trained: character spans, or None for all of it."""

    text: str
    spans: tuple[Span, ...] | None
    trains_document_end: bool


class Renderer:
    """Renders rows for one tokenizer folder; raises ConfigError when its tokenizer is unusable."""

    def __init__(
        self, tokenizer_dir: str | Path, *, only_assistant_loss: bool = True, add_think_pattern: bool = False
    ) -> None:
        self.tokenizer = load_tokenizer(Path(tokenizer_dir))
        self.document_end_id = token_id(self.tokenizer, DOCUMENT_END)
        self.pad_id = pad_id_of(self.tokenizer)
        self._folder = tokenizer_dir
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
        scripts = [self._script_or_error(row) for row in rows]
        texts = [script.text for script in scripts if isinstance(script, Script)]
        encodings = iter(self.tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False))
        return [
            script if isinstance(script, RowError) else self._assemble(script, next(encodings))
            for script in scripts
        ]

    def script_of(self, row: Row) -> Script:
        """Text of one row and the characters of it that are trained; raises RowError."""
        if row.messages is None:
            return Script("".join(row.segments or ()), spans=None, trains_document_end=True)
        messages = with_think_pattern(row.messages) if self._add_think_pattern else row.messages
        text = self.chat_text(messages)
        if not self._only_assistant_loss:
            return Script(text, spans=None, trains_document_end=False)
        return Script(text, spans=self._trained_turns(messages, text), trains_document_end=False)

    def chat_text(self, messages: Sequence[Message]) -> str:
        """A conversation as the model's chat template writes it; raises RowError when it refuses."""
        if self.tokenizer.chat_template is None:
            raise ConfigError(f"{self._folder}: the tokenizer has no chat template; chat rows need one")
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return str(self.tokenizer.apply_chat_template(turns, tokenize=False))
        except TemplateError as fault:
            raise RowError("the chat template refuses the messages", str(fault)) from fault

    def _script_or_error(self, row: Row) -> Script | RowError:
        try:
            return self.script_of(row)
        except RowError as fault:
            return fault

    def _trained_turns(self, messages: Sequence[Message], text: str) -> tuple[Span, ...]:
        """Characters of the assistant turns, found in a copy of the text that only the template can mark."""
        plain = text
        if any(may_spell_marker(message.content) for message in messages):
            plain = self.chat_text(
                [Message(message.role, disguised(message.content)) for message in messages]
            )
            if disguised(plain) != disguised(text):
                raise RowError(
                    "the chat template reads the characters of its own markers out of the text", text
                )
        spans = turns_of(plain)
        if len(spans) != sum(message.role == "assistant" for message in messages):
            raise RowError("the chat template does not show every assistant turn", text)
        return spans

    def _assemble(self, script: Script, encoding: Encoding) -> Rendered | RowError:
        ids = [*encoding.ids, self.document_end_id]
        if script.spans is None:
            spans = [(1, len(ids) if script.trains_document_end else len(ids) - 1)]
        else:
            spans = [token_span(encoding, span, characters=len(script.text)) for span in script.spans]
        spans = [(start, end) for start, end in spans if start < end]
        if len(ids) == 1 or not spans:
            return RowError("nothing in it is trained", script.text)
        return Rendered(input_ids=ids, spans=spans)


def may_spell_marker(text: str) -> bool:
    """Whether text could look like a turn marker once it is rendered."""
    return "<|im_" in text


def disguised(text: str) -> str:
    """Text of the same length that can spell no turn marker."""
    return text.replace(MARK, DISGUISE)


def turns_of(text: str) -> tuple[Span, ...]:
    """Character spans after each assistant header up to and including its end marker.

    Every marker in `text` must be the template's; raises RowError when a turn has no end.
    """
    spans: list[Span] = []
    at = text.find(HEADER)
    while at >= 0:
        start = at + len(HEADER)
        end = text.find(TURN_END, start) + len(TURN_END)
        if end < start:
            raise RowError("the chat template does not end an assistant turn", text[at:])
        spans.append((start, end))
        at = text.find(HEADER, end)
    return tuple(spans)


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
