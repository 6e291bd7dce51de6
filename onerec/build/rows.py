"""Rows in OpenOneRec's parquet format and the files they are written to.

Nothing here knows what the rows say. The same rows always give the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from onerec.folder import whole_folder

ROWS_PER_FILE = 1000
COLUMNS = (
    "uuid",
    "source",
    "metadata",
    "images",
    "videos",
    "messages",
    "segments",
    "image",
    "video",
    "text",
    "label",
)
SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])
"""Lists and objects are JSON text; what a row does not have is null."""

Message = dict[str, str]


@dataclass(frozen=True)
class Row:
    """One sample: a chat (`messages`: role and content) or a text (`segments`); the other is None."""

    uuid: str
    source: str
    metadata: dict[str, str | int]
    messages: tuple[Message, ...] | None = None
    segments: tuple[str, ...] | None = None

    def cells(self) -> dict[str, str | None]:
        """The row as it is stored."""
        segments = self.segments and [{"type": "text", "text": text} for text in self.segments]
        given = {
            "uuid": self.uuid,
            "source": self.source,
            "metadata": _json(self.metadata),
            "messages": self.messages and _json(self.messages),
            "segments": segments and _json(segments),
        }
        return dict.fromkeys(COLUMNS) | given


def write_rows(rows: Iterable[Row], folder: Path) -> Counter[str]:
    """Write rows that come one by one; the rest is as `write_tables` has it."""
    return write_tables(_tables(iter(rows)), folder)


def write_tables(tables: Iterable[pa.Table], folder: Path) -> Counter[str]:
    """Write part-00000-of-0000N.parquet and file_list.json in place of the folder; returns rows per source.

    Tables have SCHEMA and may be of any size; a file has ROWS_PER_FILE rows, and no more than that and one
    table are held. The folder appears, or replaces an earlier one, only when everything is written.
    """
    counts: Counter[str] = Counter()
    with whole_folder(folder) as written:
        parts = []
        for number, table in enumerate(_in_files(tables)):
            told = table["source"].value_counts().to_pylist()
            counts.update({entry["values"]: entry["counts"] for entry in told})
            parts.append(written / f"part-{number:05d}.parquet")
            pq.write_table(table, parts[-1], use_dictionary=["source"], write_page_checksum=True)
        names = [f"part-{number:05d}-of-{len(parts):05d}.parquet" for number in range(len(parts))]
        for part, name in zip(parts, names, strict=True):
            part.rename(written / name)
        (written / "file_list.json").write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")
    return counts


def _tables(rows: Iterator[Row]) -> Iterator[pa.Table]:
    while batch := list(islice(rows, ROWS_PER_FILE)):
        yield pa.Table.from_pylist([row.cells() for row in batch], schema=SCHEMA)


def _in_files(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of ROWS_PER_FILE, the last of what is left."""
    held = SCHEMA.empty_table()
    for table in tables:
        held = pa.concat_tables([held, table])
        while held.num_rows >= ROWS_PER_FILE:
            yield held.slice(0, ROWS_PER_FILE)
            held = held.slice(ROWS_PER_FILE)
    if held.num_rows:
        yield held


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
