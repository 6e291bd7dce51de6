"""Read parquet files row by row: every row group, only the columns that are needed, piece by piece.

Values come out as Python objects whatever their physical type; whether they make a good row, `validate` says.
A connection that breaks is opened again where it broke: no row comes twice, none is lost.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from onerec.data.source.filesystem import open_filesystem, shown
from onerec.data.source.retry import PATIENCE, Attempts, Patience, first_line, persist
from onerec.data.source.sources import locations_of
from onerec.data.source.validate import Record, Row, RowError, row_from
from onerec.errors import DataError

Result = TypeVar("Result")

COLUMNS = ("uuid", "source", "metadata", "messages", "segments")
ROWS_PER_READ = 1024
BYTES_PER_READ = 16 << 20
"""Rows are read fewer at a time where they are so long, by the footer's account, that more would not fit."""
LOCAL_BUFFER_BYTES, REMOTE_BUFFER_BYTES = 1 << 20, 8 << 20
"""Read ahead in each column; a column chunk is never in memory as a whole."""


@dataclass(frozen=True)
class Footer:
    """What the footer of a parquet file says of it."""

    rows: int
    row_groups: int
    columns: tuple[str, ...]
    """Names of the top-level columns."""
    schema: str
    """Each column's name and Arrow type, one a line."""
    compressed_bytes: int
    """Of all column chunks, as stored."""
    uncompressed_bytes: int


@dataclass
class _Position:
    """How far a file was read."""

    metadata: pq.FileMetaData | None = None
    group: int = 0
    row: int = 0
    """Rows of the group that were given out."""


def rows(source: str) -> Iterator[Row]:
    """Rows of a file, folder, glob or file list; raises DataError at the first row that breaks a rule."""
    for location in sorted(locations_of(str(source))):
        for record in records(location):
            yield _valid(record)


def _valid(record: Record) -> Row:
    try:
        return row_from(record)
    except RowError as fault:
        place = f"{shown(record.file)}, row {record.row}"
        raise DataError(f"{place}: {fault.reason}: {fault.excerpt}; correct the row") from fault


def footer(location: str, *, patience: Patience = PATIENCE) -> Footer:
    """Footer of one parquet file; raises DataError when the file is broken or lacks a column."""
    return _from_footer(location, _footer_of, patience)


def schema_and_rows(location: str, *, patience: Patience = PATIENCE) -> tuple[pa.Schema, int]:
    """Arrow schema and number of rows of one parquet file; raises DataError as `footer` does."""
    return _from_footer(location, lambda file: (file.schema_arrow, file.metadata.num_rows), patience)


def _from_footer(location: str, take: Callable[[pq.ParquetFile], Result], patience: Patience) -> Result:
    def read() -> Result:
        with _opened(location, patience) as file:
            needed_columns(file.schema_arrow.names, location)
            return take(file)

    try:
        return persist(read, what=shown(location), patience=patience)
    except (OSError, pa.ArrowException) as fault:
        raise _unreadable(shown(location), fault) from fault


def sample_records(location: str, count: int, *, patience: Patience = PATIENCE) -> list[Record]:
    """The first rows of one parquet file; no more than the pages that hold them are read."""
    return list(islice(records(location, most_rows=count, patience=patience), count))


def records(
    location: str, *, most_rows: int = ROWS_PER_READ, patience: Patience = PATIENCE
) -> Iterator[Record]:
    """Rows of one parquet file as they are; raises DataError when the file is broken or lacks a column."""
    row = 0
    for batch in batches(location, most_rows=most_rows, patience=patience):
        for values in values_of(batch):
            yield Record(file=location, row=row, values=values)
            row += 1


def batches(
    location: str,
    *,
    all_columns: bool = False,
    most_rows: int = ROWS_PER_READ,
    patience: Patience = PATIENCE,
) -> Iterator[pa.RecordBatch]:
    """Rows of one parquet file in order, in pieces of at most `most_rows`; only the columns of rows, or all.

    Raises DataError, naming the row group, when the file is broken, lacks a column or is replaced meanwhile.
    """
    position, attempts = _Position(), Attempts(shown(location), patience)
    while True:
        try:
            for batch in _read_on(location, position, all_columns, most_rows, patience):
                attempts.got_further()
                yield batch
        except OSError as fault:  # noqa: PERF203 - to try again is what the loop is for
            _pause_or_tell(fault, location, position, attempts)
        except pa.ArrowException as fault:
            raise _unreadable(_place(location, position), fault) from fault
        else:
            return


def _pause_or_tell(fault: OSError, location: str, position: _Position, attempts: Attempts) -> None:
    try:
        attempts.pause_or_raise(fault)
    except OSError:
        raise _unreadable(_place(location, position), fault) from fault


def _place(location: str, position: _Position) -> str:
    return shown(location) + (f", row group {position.group}" if position.metadata is not None else "")


def _unreadable(place: str, fault: Exception) -> DataError:
    if isinstance(fault, FileNotFoundError):
        return DataError(f"{place}: no such file; correct `sources`")
    return DataError(
        f"{place}: cannot be read as parquet: {first_line(fault)}; write it again or take it out of `sources`"
    )


@contextmanager
def _opened(location: str, patience: Patience) -> Iterator[pq.ParquetFile]:
    filesystem, path = open_filesystem(location, patience=patience)
    is_local = isinstance(filesystem, fs.LocalFileSystem)
    ahead = LOCAL_BUFFER_BYTES if is_local else REMOTE_BUFFER_BYTES
    with filesystem.open_input_file(path) as stream:
        yield pq.ParquetFile(stream, buffer_size=ahead, pre_buffer=False, page_checksum_verification=True)


def _read_on(
    location: str, position: _Position, all_columns: bool, most_rows: int, patience: Patience
) -> Iterator[pa.RecordBatch]:
    """What is left from a position on, which moves along."""
    with _opened(location, patience) as file:
        if position.metadata is not None and not file.metadata.equals(position.metadata):
            raise DataError(f"{shown(location)}: was replaced while it was read; start again")
        position.metadata = file.metadata
        needed = needed_columns(file.schema_arrow.names, location)
        names = list(file.schema_arrow.names) if all_columns else needed
        while position.group < file.num_row_groups:
            count = min(most_rows, _rows_that_fit(file.metadata.row_group(position.group), names))
            seen = 0
            for batch in file.iter_batches(count, row_groups=[position.group], columns=names):
                fresh = batch.slice(min(batch.num_rows, max(0, position.row - seen)))
                seen += batch.num_rows
                position.row = max(position.row, seen)
                if fresh.num_rows:
                    yield fresh
            position.group, position.row = position.group + 1, 0


def _rows_that_fit(group: pq.RowGroupMetaData, names: Sequence[str]) -> int:
    """Rows of average length of a row group that BYTES_PER_READ holds, at least one."""
    wanted = set(names)
    chunks = [group.column(number) for number in range(group.num_columns)]
    # a name may itself have dots: then the row is taken to be longer than it is
    size = sum(
        chunk.total_uncompressed_size for chunk in chunks if wanted & set(_names_of(chunk.path_in_schema))
    )
    return max(1, BYTES_PER_READ * group.num_rows // max(size, 1))


def _names_of(path: str) -> Iterator[str]:
    """Every name that the column of a dotted path may have."""
    parts = path.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def needed_columns(names: Sequence[str], location: str) -> list[str]:
    """Columns of rows among a file's; raises DataError when one that every row needs is missing."""
    present = [name for name in COLUMNS if name in names]
    missing = [name for name in ("uuid", "source") if name not in present]
    if "messages" not in present and "segments" not in present:
        missing.append("messages or segments")
    if missing:
        raise DataError(
            f"{shown(location)}: no column {', '.join(missing)}; its columns ({', '.join(names)}) are not "
            "OpenOneRec's: rename them or take the file out of `sources`"
        )
    return present


def _footer_of(file: pq.ParquetFile) -> Footer:
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    compressed = [
        group.column(number).total_compressed_size for group in groups for number in range(group.num_columns)
    ]
    schema = file.schema_arrow
    return Footer(
        rows=file.metadata.num_rows,
        row_groups=len(groups),
        columns=tuple(schema.names),
        schema="\n".join(f"{field.name}: {field.type}" for field in schema),
        compressed_bytes=sum(compressed),
        uncompressed_bytes=sum(group.total_byte_size for group in groups),
    )


def values_of(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Each row's values by column name."""
    names = batch.schema.names
    columns = [_values(column) for column in batch.columns]
    return (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def _values(column: pa.Array) -> list[Any]:
    """Values of a column as Python objects; one that is not UTF-8 comes out as the error it raised."""
    try:
        values = list(column.to_pylist())
    except UnicodeDecodeError:
        values = [_value(scalar) for scalar in column]
    if pa.types.is_map(column.type):
        return [value and dict(value) for value in values]
    return [_text(value) if isinstance(value, (bytes, uuid.UUID)) else value for value in values]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError as fault:
        return fault


def _text(value: bytes | uuid.UUID) -> Any:
    """Text of a column without a text type, or of parquet's own UUID type."""
    if isinstance(value, uuid.UUID):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError as fault:
        return fault
