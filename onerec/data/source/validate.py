"""Turn what a parquet row holds into a Row that can be trained on, or say in one sentence why it cannot be.

The rules are OpenOneRec's: a valid uuid, a source, metadata that is an object, text only, roles user,
assistant and system. Columns hold JSON text or nested values; both come out the same. Nothing is read here.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ROLES = ("user", "assistant", "system")
EXCERPT_CHARACTERS = 160
LONGEST_INTEGER = 4000
"""Digits of an integer that Python reads as one; a longer one becomes the nearest float."""
LONGEST_BLANK = 1_000_000
"""White space characters in a row; at some ten times as many a tokenizer's expressions end the program."""
_BLANK = re.compile(r"\s+")
_UUID = re.compile("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
"""The usual spelling: looking at it costs a tenth of what uuid.UUID takes."""


@dataclass(frozen=True)
class Message:
    """One turn of a chat."""

    role: str
    content: str


@dataclass(frozen=True)
class Row:
    """One valid row: a chat has `messages`, a text has `segments`, never both."""

    uuid: str
    source: str
    messages: tuple[Message, ...] | None
    segments: tuple[str, ...] | None
    metadata: Mapping[str, Any]
    file: str
    row: int
    """Number of the row within its file, from 0."""


@dataclass(frozen=True)
class Record:
    """One row as the file has it, columns that the file does not have left out."""

    file: str
    row: int
    values: Mapping[str, Any]


class RowError(ValueError):
    """Why one row cannot be used: a reason that many rows may share, and the start of the offending value."""

    def __init__(self, reason: str, value: object = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.excerpt = excerpt(value)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_row_error, (self.reason, self.excerpt))


def _row_error(reason: str, text: str) -> RowError:
    error = RowError(reason)
    error.excerpt = text
    return error


def excerpt(value: object) -> str:
    """Start of a value as ASCII JSON: control characters and non-ASCII text are escaped."""
    if isinstance(value, (str, bytes)):
        value = value[:EXCERPT_CHARACTERS]
    try:
        text = json.dumps(value, default=repr)
    except RecursionError:
        text = json.dumps(f"{type(value).__name__}, nested too deeply to be shown")
    return text if len(text) <= EXCERPT_CHARACTERS else text[: EXCERPT_CHARACTERS - 3] + "..."


def row_from(record: Record) -> Row:
    """The row of a record; raises RowError when a field breaks a rule."""
    values = record.values
    broken = next((value for value in values.values() if isinstance(value, UnicodeDecodeError)), None)
    if broken is not None:
        raise RowError("text is not valid UTF-8", broken.object)
    identifier, source = _uuid_of(values.get("uuid")), _source_of(values.get("source"))
    metadata = _metadata_of(values.get("metadata"))
    messages, segments = _decoded(values, "messages"), _decoded(values, "segments")
    if messages and segments:
        raise RowError("both messages and segments", segments)
    if not messages and not segments:
        raise RowError("neither messages nor segments")
    turns = tuple(map(_message_of, messages)) if messages else None
    texts = tuple(map(text_of, segments)) if segments else None
    _check_blanks(texts if texts is not None else [turn.content for turn in turns or ()])
    return Row(
        uuid=identifier,
        source=source,
        messages=turns,
        segments=texts,
        metadata=metadata,
        file=record.file,
        row=record.row,
    )


def _uuid_of(value: object) -> str:
    if isinstance(value, str) and (_UUID.fullmatch(value) or _is_uuid(value)):
        return value
    if isinstance(value, uuid.UUID):  # a column of parquet's own UUID type
        return str(value)
    raise RowError("uuid is not a valid UUID", value)


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _source_of(value: object) -> str:
    if isinstance(value, str) and value.strip():
        return _encodable(value)
    raise RowError("source is empty", value)


def _metadata_of(value: object) -> Mapping[str, Any]:
    """Metadata as a mapping; a row without any has an empty one."""
    if value is None:
        return {}
    decoded = _from_json(value, "metadata") if isinstance(value, str) else value
    if isinstance(decoded, Mapping):
        return decoded
    raise RowError("metadata is not a JSON object", value)


def _decoded(values: Mapping[str, Any], name: str) -> list[Any] | None:
    """A column of parts as a list, from JSON text or nested values; None when it holds nothing."""
    value = values.get(name)
    if isinstance(value, str):
        value = _from_json(value, name) if value.strip() else None
    if value is None:
        return None
    if not isinstance(value, list):
        raise RowError(f"{name} is not a list", value)
    return value


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= LONGEST_INTEGER else float(digits)


_JSON = json.JSONDecoder(strict=False, parse_int=_integer)
"""Control characters that stand in a string as they are, unescaped, are part of the text that is meant."""


def _from_json(text: str, name: str) -> Any:
    try:
        return _JSON.decode(text)
    except (ValueError, RecursionError) as fault:
        raise RowError(f"{name} is not valid JSON", text) from fault


def _message_of(value: object) -> Message:
    if not isinstance(value, Mapping):
        raise RowError("a message is not an object", value)
    role = value.get("role")
    if role not in ROLES:
        raise RowError("a role is not user, assistant or system", role)
    content = value.get("content")
    parts = content if isinstance(content, list) else [content]
    return Message(role=str(role), content="".join(map(text_of, parts)))


def _check_blanks(texts: Sequence[str]) -> None:
    if sum(map(len, texts)) <= LONGEST_BLANK:
        return
    for run in _BLANK.finditer("".join(texts)):
        if run.end() - run.start() > LONGEST_BLANK:
            raise RowError(f"more than {LONGEST_BLANK:,} white space characters in a row", run[0])


def text_of(part: object) -> str:
    """Text of a string or of {"type": "text", "text": ...}; raises RowError for anything else."""
    if isinstance(part, Mapping):
        if part.get("type") != "text":
            raise RowError("content that is not text", part)
        part = part.get("text")
    if not isinstance(part, str):
        raise RowError("content without a text", part)
    return _encodable(part)


def _encodable(text: str) -> str:
    """The text itself; raises RowError for half a surrogate pair, which no tokenizer can read."""
    try:
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError as fault:
        raise RowError("text is not valid Unicode", text) from fault
    return text
