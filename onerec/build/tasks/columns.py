"""Arrow columns from numbers and texts, made where it costs little, and put together.

pyarrow's own conversions of arrays and scalars look for pandas at every call, which takes longer than a
column of a thousand texts does; these do not.

Shapes: R rows, H numbers of R rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Text: TypeAlias = "pa.StringArray"
Int64 = npt.NDArray[np.int64]


def numbers(values_R: npt.NDArray[np.integer]) -> pa.Int64Array:
    """A column of whole numbers."""
    values_R = np.ascontiguousarray(values_R, dtype=np.int64)
    return pa.Array.from_buffers(pa.int64(), len(values_R), [None, pa.py_buffer(values_R)])


def texts(values: Iterable[str]) -> Text:
    """A column of texts as they stand between the quotes of JSON strings."""
    return pa.array([escaped(value) for value in values], pa.string())


def same(text: str, count: int) -> Text:
    """A column of one text, which is taken as it is."""
    return pa.repeat(scalar(text), count)


@lru_cache(maxsize=4096)
def scalar(text: str) -> pa.StringScalar:
    """One text, which is taken as it is."""
    return pa.array([text], pa.string())[0]


def is_empty(column: Text) -> pa.BooleanArray:
    """Where a column has empty texts."""
    return pc.equal(column, scalar(""))


def taken(column: Text, places_R: npt.NDArray[np.integer]) -> Text:
    """Texts at places of a column."""
    return column.take(numbers(places_R))


def beside(*pieces: str | Text) -> Text:
    """Texts of R rows put together; a piece is a column, or one text for all."""
    columns = [scalar(piece) if isinstance(piece, str) else piece for piece in pieces]
    return pc.binary_join_element_wise(*columns, scalar(""))


def joined(words: Text, lengths_R: Int64, separator: str = "") -> Text:
    """Consecutive words put together for each row, `lengths_R` of them."""
    offsets_R1 = np.concatenate([[0], np.cumsum(lengths_R)]).astype(np.int32)
    borders = pa.Array.from_buffers(pa.int32(), len(offsets_R1), [None, pa.py_buffer(offsets_R1)])
    return pc.binary_join(pa.ListArray.from_arrays(borders, words), scalar(separator))


def escaped(text: str) -> str:
    """A text as it stands between the quotes of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
