"""Rows and parquet files for tests, in the shapes that OpenOneRec's files have."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from onerec.data.source.validate import Message, Row

TEXT_COLUMNS = pa.schema(
    [(name, pa.string()) for name in ("uuid", "source", "metadata", "messages", "segments")]
)


def identifier(number: int) -> str:
    """A UUID for each number."""
    return str(uuid.UUID(int=number + (4 << 76) + (2 << 62)))


def chat(*turns: tuple[str, str], source: str = "chat", number: int = 0) -> Row:
    """A chat row of (role, content) turns."""
    messages = tuple(Message(role, content) for role, content in turns)
    return Row(identifier(number), source, messages, None, {}, "f.parquet", number)


def text(*segments: str, source: str = "text", number: int = 0) -> Row:
    """A segments row."""
    return Row(identifier(number), source, None, segments, {}, "f.parquet", number)


def as_columns(row: Row) -> dict[str, Any]:
    """A row as columns of JSON text."""
    messages = row.messages and [{"role": m.role, "content": m.content} for m in row.messages]
    segments = row.segments and [{"type": "text", "text": segment} for segment in row.segments]
    return {
        "uuid": row.uuid,
        "source": row.source,
        "metadata": json.dumps(dict(row.metadata)),
        "messages": json.dumps(messages, ensure_ascii=False) if messages else None,
        "segments": json.dumps(segments, ensure_ascii=False) if segments else None,
    }


def write_rows(path: Path, rows: Sequence[Row | Mapping[str, Any]], **options: Any) -> Path:
    """A parquet file of rows, or of columns as they are given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [as_columns(row) if isinstance(row, Row) else dict(row) for row in rows]
    pq.write_table(pa.Table.from_pylist(columns, schema=TEXT_COLUMNS), path, **options)
    return path


def sample_rows(count: int, *, start: int = 0) -> list[Row]:
    """Rows of both kinds, of different lengths and sources, that are the same each time."""
    return [_sample_row(number) for number in range(start, start + count)]


def _sample_row(number: int) -> Row:
    item = f"<|sid_begin|><s_a_{number % 4}><s_b_{number % 3}><s_c_1><|sid_end|>"
    if number % 3:
        return text(item * (number % 5 + 1), f" the {number}", source=f"s{number % 2}", number=number)
    return chat(("user", f"the {number} 你好"), ("assistant", item), source="chat", number=number)
