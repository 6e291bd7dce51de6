"""The item map: which item has which semantic id, as a parquet file that goes along with a model.

Columns are pid and sid, and, where known, title and train_popularity; the schema's metadata tells how
items are asked for. Nothing here knows a tensor.

Shapes: N items, L levels.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from onerec.errors import ConfigError, DataError
from onerec.vocab import ItemicVocab, level_token

ITEMS_NAME = "onerec_items.parquet"
"""Name of the item map in a model folder."""
METADATA_KEY = b"onerec"
EXAMPLES = 3

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ItemMap:
    """Items in the order of their numbers."""

    pids: tuple[str, ...]
    codes_NL: Int32
    titles: tuple[str, ...]
    """Empty texts where nothing is known."""
    popularity_N: Int64
    """Training events of each item; 0 where nothing is known."""
    about: dict[str, Any] = field(default_factory=dict)
    """What the schema's metadata tells: itemic_layer_n, vocab_size_per_layer, question, history_length."""

    @property
    def layer_n(self) -> int:
        """Levels of an id."""
        return self.codes_NL.shape[1]

    def __len__(self) -> int:
        """Number of items."""
        return len(self.pids)

    def number_of(self, pid: str) -> int:
        """Number of an item; raises ConfigError with near matches for one that is not in the map."""
        number = self._numbers.get(pid)
        if number is None:
            near = difflib.get_close_matches(pid, self.pids[:100_000], n=3)
            hint = f"did you mean {', '.join(near)}?" if near else f"such as {', '.join(self.pids[:3])}"
            raise ConfigError(f"no item {pid!r} among the {len(self):,} items of the model; {hint}")
        return number

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {pid: number for number, pid in enumerate(self.pids)}


def load_item_map(place: Path, *, layer_n: int | None = None, size_per_layer: int | None = None) -> ItemMap:
    """The item map of a parquet file or a model folder.

    Raises ConfigError for a place without one, DataError for rows that cannot be: an id or an item twice, a
    wrong number of levels, codes outside the vocabulary (as given here, or as the file's metadata tells).
    """
    path = place / ITEMS_NAME if place.is_dir() else place
    table = _read(path)
    about = json.loads((table.schema.metadata or {}).get(METADATA_KEY, b"{}"))
    codes_NL = _codes(table["sid"], path, layer_n=layer_n or about.get("itemic_layer_n"))
    pids = table["pid"].cast(pa.string())
    items = ItemMap(
        pids=tuple(pids.to_pylist()),
        codes_NL=codes_NL,
        titles=_texts(table, "title"),
        popularity_N=_numbers(table, "train_popularity"),
        about=about,
    )
    check_item_map(items, path, size_per_layer=size_per_layer or about.get("vocab_size_per_layer"))
    return items


def check_item_map(items: ItemMap, path: Path, *, size_per_layer: int | None) -> None:
    """Raise DataError naming every kind of row that cannot be, with counts and examples."""
    faults = []
    unique, counts = np.unique(np.array(items.pids, dtype=object), return_counts=True)
    if (counts > 1).any():
        faults.append(f"{int((counts > 1).sum())} items stand there twice ({_some(unique[counts > 1])})")
    ids, id_counts = np.unique(items.codes_NL, axis=0, return_counts=True)
    if (id_counts > 1).any():
        shared = ["".join(level_token(i, c) for i, c in enumerate(row)) for row in ids[id_counts > 1]]
        faults.append(f"{len(shared)} ids belong to several items ({_some(shared)})")
    outside_N = (items.codes_NL < 0).any(axis=1)
    if size_per_layer is not None:
        outside_N |= (items.codes_NL >= size_per_layer).any(axis=1)
    if outside_N.any():
        pids = [items.pids[i] for i in np.flatnonzero(outside_N)[:EXAMPLES]]
        faults.append(f"{int(outside_N.sum())} items have codes outside {size_per_layer} ({_some(pids)})")
    if faults:
        raise DataError(f"{path}: {'; '.join(faults)}; every item needs one id of its own")


def check_fit(items: ItemMap, vocab: ItemicVocab, *, whose: str) -> None:
    """Raise ConfigError when a vocabulary cannot spell the items; `whose` says which model has it."""
    largest = int(items.codes_NL.max())
    if items.layer_n != vocab.layer_n or largest >= vocab.size_per_layer:
        raise ConfigError(
            f"{whose} has {vocab.layer_n} levels of {vocab.size_per_layer} codes, its items have "
            f"{items.layer_n} levels and codes up to {largest}; give the item map that it was trained with"
        )


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise ConfigError(
            f"{path} is not there: the model has no item map; convert it anew with one, or name "
            "the items.parquet of the build_data stage"
        )
    try:
        schema = pq.read_schema(path)
        names = [name for name in ("pid", "sid", "title", "train_popularity") if name in schema.names]
        if not {"pid", "sid"} <= set(names):
            raise DataError(f"{path} has the columns {', '.join(schema.names)}; an item map has pid and sid")
        table = pq.read_table(path, columns=names)
    except (OSError, pa.ArrowException) as fault:
        raise DataError(f"{path} cannot be read as parquet ({fault}); make it again") from fault
    if table.num_rows == 0 or table["pid"].null_count or table["sid"].null_count:
        raise DataError(f"{path} holds no items, or items without pid or sid; make it again")
    return table


def _codes(column: pa.ChunkedArray, path: Path, *, layer_n: int | None) -> Int32:
    kind = column.type
    is_listed = any(
        is_one(kind) for is_one in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    )
    if not is_listed or not pa.types.is_integer(kind.value_type):
        raise DataError(f"{path}: sid is a column of {kind}; an item map has lists of codes")
    if pc.list_flatten(column).null_count:
        raise DataError(f"{path}: {pc.list_flatten(column).null_count} codes of ids are null; make it again")
    lengths = pc.list_value_length(column).to_numpy()
    levels = layer_n or int(lengths[0])
    if (lengths != levels).any():
        raise DataError(
            f"{path}: {int((lengths != levels).sum())} ids have another number of levels than {levels}; "
            "make the map with the vocabulary of the model"
        )
    return np.asarray(pc.list_flatten(column).to_numpy(), dtype=np.int32).reshape(-1, levels)


def _texts(table: pa.Table, name: str) -> tuple[str, ...]:
    if name not in table.column_names:
        return ("",) * table.num_rows
    return tuple(text or "" for text in table[name].to_pylist())


def _numbers(table: pa.Table, name: str) -> Int64:
    if name not in table.column_names:
        return np.zeros(table.num_rows, dtype=np.int64)
    return np.asarray(table[name].fill_null(0).to_numpy(), dtype=np.int64)


def _some(values: Any) -> str:
    shown = ", ".join(str(value) for value in values[:EXAMPLES])
    return shown if len(values) <= EXAMPLES else f"{shown}, ..."
