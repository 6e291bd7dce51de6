"""Rows of parquet, CSV, TSV and JSON-lines files, batch by batch, and only the columns that are asked for.

What the columns mean is not known here. Memory is bounded by the size of one batch.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.json as arrow_json
import pyarrow.parquet as pq
from pyarrow import csv

from onerec.build.sources.oddities import EXAMPLES, Oddities
from onerec.errors import ConfigError, DataError

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson", ".json")
BLOCK_BYTES = 16 * 2**20
MAX_LINE_BYTES = 64 * 2**20  # stops a hostile archive of one endless line from filling the memory
PARQUET_BATCH_ROWS = 131_072
SAMPLE_LINES = 1000
NULL_LINE = re.compile(rb"^[ \t\r]*null", re.MULTILINE)
"""Not for Arrow: a block of nothing else ends its reader of JSON with a segmentation fault."""
MIXED = pa.struct([("text", pa.string()), ("is_number", pa.bool_())])
"""Type of a JSON column that holds numbers and texts."""


@dataclass(frozen=True)
class TableFile:
    """One file of a table."""

    path: Path

    @property
    def suffix(self) -> str:
        """Kind of file, `.gz` aside."""
        return Path(self.path.name.lower().removesuffix(".gz")).suffix

    @property
    def is_typed(self) -> bool:
        """Whether the file tells numbers from texts; CSV and TSV do not."""
        return self.suffix not in {".csv", ".tsv"}

    def column_names(self) -> list[str]:
        """Names of its columns; of JSON lines, the keys of the first lines. Raises DataError."""
        with _told(self.path):
            if self.suffix == ".parquet":
                return list(pq.read_schema(self.path).names)
            if not self.is_typed:
                return list(csv.open_csv(self.path, parse_options=_dialect(self.suffix)).schema.names)
            sample = next(_json_blocks(self.path), b"").splitlines()[:SAMPLE_LINES]
            return list(dict.fromkeys(key for line in sample for key in (_object(line) or {})))

    def batches(self, columns: Sequence[str], oddities: Oddities) -> Iterator[pa.RecordBatch]:
        """All rows, in order; a column that JSON lines have numbers and texts in is MIXED.

        Columns of CSV and TSV are texts, null where empty. Lines that cannot be read become a fault. Raises
        DataError when the file is damaged.
        """
        with _told(self.path):
            if self.suffix == ".parquet":
                file = pq.ParquetFile(self.path)
                yield from file.iter_batches(batch_size=PARQUET_BATCH_ROWS, columns=list(columns))
            elif self.is_typed:
                yield from _json_batches(self.path, columns, oddities)
            else:
                yield from _csv_batches(self.path, self.suffix, columns, oddities)


def files_of(path: str, key: str) -> list[TableFile]:
    """The file, or all table files in the folder and below, in order of names.

    Raises ConfigError, naming `key`, when there are none.
    """
    place = Path(path)
    if not place.exists():
        raise ConfigError(f"{key}: {path} is not there; name a file or folder")
    if place.is_file():
        if TableFile(place).suffix in SUFFIXES:
            return [TableFile(place)]
        raise ConfigError(f"{key}: {path} is none of {', '.join(SUFFIXES)} (or these with .gz)")
    inside = (file for file in sorted(place.rglob("*")) if file.is_file() and file.name[0] not in "._")
    tables = [TableFile(file) for file in inside if TableFile(file).suffix in SUFFIXES]
    if not tables:
        raise ConfigError(f"{key}: {path} holds no file of {', '.join(SUFFIXES)} (or these with .gz)")
    return tables


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what the readers raise into a DataError that names the file."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as fault:
        reason = str(fault).splitlines()[0]
        raise DataError(f"{path} cannot be read: {reason}; repair it or fetch it again") from fault


def _dialect(suffix: str, invalid_rows: _InvalidRows | None = None) -> csv.ParseOptions:
    return csv.ParseOptions(
        delimiter="\t" if suffix == ".tsv" else ",", newlines_in_values=True, invalid_row_handler=invalid_rows
    )


@dataclass
class _InvalidRows:
    """Rows of another number of cells than the header has; they are counted and left out."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def __call__(self, row: csv.InvalidRow) -> str:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            cells = f"{row.actual_columns} cells, not {row.expected_columns}"
            self.examples.append(f"{cells}: {str(row.text)[:60]!r}")
        return "skip"


def _csv_batches(
    path: Path, suffix: str, columns: Sequence[str], oddities: Oddities
) -> Iterator[pa.RecordBatch]:
    invalid_rows = _InvalidRows()
    reader = csv.open_csv(
        path,
        read_options=csv.ReadOptions(block_size=BLOCK_BYTES),
        parse_options=_dialect(suffix, invalid_rows),
        convert_options=csv.ConvertOptions(
            include_columns=list(columns),
            column_types=dict.fromkeys(columns, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
    yield from reader
    oddities.fault(
        count=invalid_rows.count,
        what=f"rows of {path.name} with more or fewer cells than its header",
        examples=invalid_rows.examples,
        remedy="quote what holds the separator",
    )


def _json_blocks(path: Path) -> Iterator[bytes]:
    """Whole lines, some megabytes at a time."""
    rest = b""
    with pa.input_stream(str(path), compression="detect") as stream:
        while chunk := stream.read(BLOCK_BYTES):
            rest += chunk
            end = rest.rfind(b"\n") + 1
            if end:
                yield rest[:end]
                rest = rest[end:]
            elif len(rest) > MAX_LINE_BYTES:
                raise DataError(f"{path} has a line of more than {MAX_LINE_BYTES:,} bytes; is it JSON lines?")
    if rest.strip():
        yield rest


def _json_batches(path: Path, columns: Sequence[str], oddities: Oddities) -> Iterator[pa.RecordBatch]:
    invalid: list[int] = []
    line_number, schema = 1, None
    for block in _json_blocks(path):
        schema = schema or _sampled_schema(block, columns)
        table = None if NULL_LINE.search(block) else _fast_table(block, schema)
        if table is None:  # a line that is none, or a column of several types: look at each line
            lines = block.splitlines()
            objects = [_object(line) for line in lines]
            invalid += [
                line_number + i for i, found in enumerate(objects) if found is None and lines[i].strip()
            ]
            table = _table([found for found in objects if found is not None], columns)
        line_number += block.count(b"\n")
        yield from table.select(list(columns)).to_batches()
    oddities.fault(
        count=len(invalid),
        what=f"lines of {path.name} that are not JSON objects",
        examples=(f"line {number}" for number in invalid),
        remedy="correct or remove them",
    )


def _fast_table(block: bytes, schema: pa.Schema) -> pa.Table | None:
    """The columns of the schema; None when a line or value does not fit it."""
    try:
        return arrow_json.read_json(
            io.BytesIO(block),
            read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None


def _object(line: bytes) -> dict[str, object] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _sampled_schema(block: bytes, columns: Sequence[str]) -> pa.Schema:
    """Types of the columns by the first lines; texts where these say nothing."""
    sample = [_object(line) for line in block.splitlines()[:SAMPLE_LINES]]
    found = _table([found for found in sample if found is not None], columns).schema
    return pa.schema([(name, _settled(found.field(name).type)) for name in columns])


def _settled(kind: pa.DataType) -> pa.DataType:
    if kind in {pa.null(), MIXED}:
        return pa.string()
    return pa.list_(pa.string()) if kind == pa.list_(pa.null()) else kind


def _table(objects: Sequence[dict[str, object]], columns: Sequence[str]) -> pa.Table:
    return pa.table({name: _column([found.get(name) for found in objects]) for name in columns})


def _column(values: list[object]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        known = [None if value is None else _mixed(value) for value in values]
        return pa.array(known, MIXED)


def _mixed(value: object) -> dict[str, object]:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return {"text": value if isinstance(value, str) else json.dumps(value), "is_number": is_number}
