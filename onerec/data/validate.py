"""Turn what a parquet row holds into a Row that can be trained on, or say in one sentence why it cannot be.

The rules are OpenOneRec's: a valid uuid, a source, metadata that is an object, text only, roles user,
assistant and system. Columns hold JSON text or nested values; both come out the same. Nothing is read here.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ROLES = ("user", "assistant", "system")
EXCERPT_CHARACTERS = 160


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
    text = json.dumps(value, default=repr)
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
    return Row(
        uuid=identifier,
        source=source,
        messages=tuple(map(_message_of, messages)) if messages else None,
        segments=tuple(map(text_of, segments)) if segments else None,
        metadata=metadata,
        file=record.file,
        row=record.row,
    )


def _uuid_of(value: object) -> str:
    try:
        if isinstance(value, str) and uuid.UUID(value):
            return value
    except ValueError:
        pass
    raise RowError("uuid is not a valid UUID", value)


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


def _from_json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
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
        text.encode()
    except UnicodeEncodeError as fault:
        raise RowError("text is not valid Unicode", text) from fault
    return text
