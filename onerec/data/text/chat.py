"""Conversations as the model's own chat template writes them, and where the assistant's turns are in them.

The template is run as it is, never imitated. Turns are found in the template's own characters alone: a row
that spells a marker opens and closes no turn by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from onerec.data.source.validate import Message, RowError
from onerec.data.text.tokenizer import TURN_END, TURN_START
from onerec.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

HEADER = f"{TURN_START}assistant\n"
MARK, DISGUISE = "|", "¦"
"""Every turn marker has a MARK in it; with its marks disguised, a row's text can spell none."""

Messages = Sequence[Message]
Span = tuple[int, int]


class ChatTemplate:
    """The chat template of a tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, folder: str | Path) -> None:
        self._tokenizer, self._folder = tokenizer, folder

    def texts_of(self, chats: Sequence[Messages]) -> list[str | RowError]:
        """Texts of conversations, a RowError where the template refuses one.

        Raises ConfigError when there is no template.
        """
        if not chats:
            return []
        if self._tokenizer.chat_template is None:
            raise ConfigError(f"{self._folder}: the tokenizer has no chat template; chat rows need one")
        try:
            return list(self._apply(chats))
        except TemplateError:
            return [self._text_or_error(chat) for chat in chats]

    def text_of(self, chat: Messages) -> str:
        """Text of one conversation; raises RowError when the template refuses it."""
        [text] = self.texts_of([chat])
        if isinstance(text, RowError):
            raise text
        return text

    def turns_in(self, text: str, chat: Messages) -> tuple[Span, ...]:
        """Characters of the assistant turns in a conversation's text; raises RowError if any is hidden."""
        plain = self._disguised_text(text, chat) if any(may_spell_marker(m.content) for m in chat) else text
        spans = turns_of(plain)
        if len(spans) != sum(message.role == "assistant" for message in chat):
            raise RowError("the chat template does not show every assistant turn", text)
        return spans

    def _disguised_text(self, text: str, chat: Messages) -> str:
        """A copy of the text that only the template can have marked."""
        plain = self.text_of([Message(message.role, disguised(message.content)) for message in chat])
        if disguised(plain) != disguised(text):
            raise RowError("the chat template reads the characters of its own markers out of the text", text)
        return plain

    def _text_or_error(self, chat: Messages) -> str | RowError:
        try:
            [text] = self._apply([chat])
        except TemplateError as fault:
            return RowError("the chat template refuses the messages", str(fault))
        return text

    def _apply(self, chats: Sequence[Messages]) -> list[str]:
        turns = [[{"role": turn.role, "content": turn.content} for turn in chat] for chat in chats]
        return self._tokenizer.apply_chat_template(turns, tokenize=False)


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
