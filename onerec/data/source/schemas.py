"""One schema for many parquet files: all columns of all of them, each with one type.

Text is text however a file stores it; any other difference of types is told with both files.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from onerec.data.source.filesystem import shown
from onerec.errors import DataError


def unified_schema(schemas: Iterable[tuple[str, pa.Schema]]) -> pa.Schema:
    """Columns of all (location, schema), in the order in which they first come.

    Raises DataError naming the column, both files and both types where two files do not agree.
    """
    types: dict[str, tuple[pa.DataType, str]] = {}
    for location, schema in schemas:
        for field in schema:
            known = types.get(field.name)
            merged = _merged(known[0], field.type) if known else _plain(field.type)
            if merged is None:
                assert known is not None
                raise DataError(
                    f"column {field.name} is {known[0]} in {shown(known[1])} and {field.type} in "
                    f"{shown(location)}; write one of them again with the other's type"
                )
            if known is None or known[0] != merged:
                types[field.name] = (merged, location)
    return pa.schema([(name, kind) for name, (kind, _) in types.items()])


def conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with the columns and types of a unified schema; a column that it lacks is null."""
    columns = [
        batch.column(field.name).cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.record_batch(columns, schema=schema)


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values, whether or not they are stored through a dictionary."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _merged(known: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """A type that holds the values of both, None where there is none."""
    other = _plain(other)
    if known == other or pa.types.is_null(other):
        return known
    if pa.types.is_null(known):
        return other
    return pa.string() if _is_text(known) and _is_text(other) else None


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
