"""Ids that a person brings along instead of having them made: read, and checked item by item.

Every fault is counted and told with examples before anything is refused.

Shapes: N items, L levels, R rows of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from onerec.build.interactions import Int64
from onerec.errors import ConfigError, DataError
from onerec.vocab import LEVEL_NAMES, SID_BEGIN, SID_END, level_token

if TYPE_CHECKING:
    from onerec.config import Vocab

EXAMPLES = 3


@dataclass(frozen=True)
class GivenIds:
    """Ids of all items, and what is to be told about their file."""

    codes_NL: Int64
    remarks: tuple[str, ...]


def read_given_ids(path: Path, pids: Sequence[str], *, vocab: Vocab) -> GivenIds:
    """Codes of the items `pids`, in their order.

    `sid` is a list of codes or an item's whole itemic text. Raises ConfigError where there is no such file,
    DataError with every kind of row that cannot be: an item twice, another number of levels, a code outside
    the vocabulary, an item without an id, two items with one id.
    """
    table = _read(path)
    rows_N = pc.index_in(pa.array(pids, pa.string()), value_set=table["pid"].combine_chunks())
    faults = [*_twice(table["pid"], pids), *_absent(rows_N, pids)]
    extra = pc.invert(pc.is_in(table["pid"], value_set=pa.array(pids, pa.string())))
    rest = table["pid"].filter(extra).to_pylist()
    known = table.take(rows_N.drop_null())
    codes_NL, bad = _codes(known["sid"], path, vocab=vocab)
    names = known["pid"].to_pylist()
    levels, size = vocab.itemic_layer_n, vocab.vocab_size_per_layer
    faults += _fault(bad, names, f"ids that are not {levels} codes, one of each level")
    outside = np.flatnonzero(((codes_NL < 0) | (codes_NL >= size)).any(axis=1) & ~np.isin(_range(names), bad))
    faults += _fault(outside, names, f"ids with codes outside 0 to {size - 1}")
    faults += _shared(np.delete(codes_NL, bad, axis=0))
    if faults:
        raise DataError(
            "\n  ".join([f"data.given_ids {path}:", *faults])
            + "\ncorrect the file, or fit [vocab] to it, or leave given_ids out to have ids made"
        )
    told = f"{len(rest):,} ids of items that are not in the data ({_some(rest)}); left out"
    return GivenIds(codes_NL, (told,) if rest else ())


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise ConfigError(f"data.given_ids: {path} is not there; name a parquet file with pid and sid")
    try:
        names = pq.read_schema(path).names
        if not {"pid", "sid"} <= set(names):
            raise DataError(f"{path} has the columns {', '.join(names)}; it needs pid and sid")
        table = pq.read_table(path, columns=["pid", "sid"])
        return table.set_column(0, "pid", table["pid"].cast(pa.string()))
    except (OSError, pa.ArrowException) as fault:
        raise DataError(f"{path} cannot be read as parquet ({fault}); make it again") from fault


def _codes(column: pa.ChunkedArray, path: Path, *, vocab: Vocab) -> tuple[Int64, Int64]:
    """Codes, (R, L), and the rows that have none of the right number."""
    levels = vocab.itemic_layer_n
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        lists = [_codes_of_text(text, levels) for text in column.to_pylist()]
    elif isinstance(column.type, (pa.ListType, pa.LargeListType, pa.FixedSizeListType)):
        lists = column.cast(pa.list_(pa.int64())).to_pylist()
    else:
        raise DataError(f"{path}: sid is a column of {column.type}; it needs lists of codes, or itemic texts")
    is_bad = [codes is None or len(codes) != levels or None in codes for codes in lists]
    whole = [[0] * levels if bad else codes for codes, bad in zip(lists, is_bad, strict=True)]
    return np.array(whole, dtype=np.int64).reshape(-1, levels), np.flatnonzero(is_bad)


def _codes_of_text(text: str | None, levels: int) -> list[int] | None:
    tokens = "".join(rf"<s_{LEVEL_NAMES[level]}_([0-9]+)>" for level in range(levels))
    match = re.fullmatch(re.escape(SID_BEGIN) + tokens + re.escape(SID_END), text or "")
    return None if match is None else [int(code) for code in match.groups()]


def _absent(rows_N: pa.Array, pids: Sequence[str]) -> list[str]:
    absent = np.flatnonzero(rows_N.is_null().to_numpy(zero_copy_only=False))
    return _fault(absent, pids, f"of {len(pids):,} items without an id")


def _twice(column: pa.ChunkedArray, pids: Sequence[str]) -> list[str]:
    counts = pc.value_counts(column).to_pylist()
    wanted = set(pids)
    again = [row["values"] for row in counts if row["counts"] > 1 and row["values"] in wanted]
    return _fault(_range(again), again, "items with several rows")


def _shared(codes_NL: Int64) -> list[str]:
    """Ids that several items have."""
    ids, counts = np.unique(codes_NL, axis=0, return_counts=True)
    spelled = ["".join(map(level_token, range(len(row)), row)) for row in ids[counts > 1].tolist()]
    return _fault(_range(spelled), spelled, "ids that belong to several items")


def _fault(chosen: Int64, names: Sequence[str], what: str) -> list[str]:
    """One line about the chosen ones, none where there are none."""
    some = _some(names[i] for i in chosen.tolist()) if len(chosen) else ""
    return [f"{len(chosen):,} {what} ({some})"] if len(chosen) else []


def _some(names: Iterable[str]) -> str:
    shown = list(islice(names, EXAMPLES + 1))
    return ", ".join(shown[:EXAMPLES]) + (", ..." if len(shown) > EXAMPLES else "")


def _range(names: Sequence[str]) -> Int64:
    return np.arange(len(names), dtype=np.int64)
