"""Read parquet files row by row: every row group, only the columns that are needed, piece by piece.

Values come out as Python objects whatever their physical type; whether they make a good row, `validate` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from onerec.data.sources import locations_of, open_filesystem, shown
from onerec.data.validate import Record, Row, RowError, row_from
from onerec.errors import DataError

COLUMNS = ("uuid", "source", "metadata", "messages", "segments")
ROWS_PER_READ = 1024


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


def records(location: str) -> Iterator[Record]:
    """Rows of one parquet file as they are; raises DataError when the file is broken or lacks a column."""
    try:
        yield from _read(location)
    except (OSError, pa.ArrowException) as fault:
        raise DataError(
            f"{shown(location)}: cannot be read as parquet: {fault}; "
            "write it again or take it out of `sources`"
        ) from fault


def _read(location: str) -> Iterator[Record]:
    filesystem, path = open_filesystem(location)
    row = 0
    with filesystem.open_input_file(path) as stream:
        file = pq.ParquetFile(stream, page_checksum_verification=True)
        names = _columns_of(file, location)
        for batch in file.iter_batches(batch_size=ROWS_PER_READ, columns=names):
            columns = [_values(batch.column(name)) for name in names]
            for values in zip(*columns, strict=True):
                yield Record(file=location, row=row, values=dict(zip(names, values, strict=True)))
                row += 1


def _columns_of(file: pq.ParquetFile, location: str) -> list[str]:
    present = [name for name in COLUMNS if name in file.schema_arrow.names]
    missing = [name for name in ("uuid", "source") if name not in present]
    if "messages" not in present and "segments" not in present:
        missing.append("messages or segments")
    if missing:
        raise DataError(
            f"{shown(location)}: no column {', '.join(missing)}; its columns are not OpenOneRec's"
        )
    return present


def _values(column: pa.Array) -> list[Any]:
    """Values of a column as Python objects; one that is not UTF-8 comes out as the error it raised."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError as fault:
        return fault
