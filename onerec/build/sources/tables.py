"""Tables of the user's own: interactions and items, in columns that the manifest names.

Which files there are and what a value means is told elsewhere; here columns get their roles.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from onerec.build.interactions import Float32, Item
from onerec.build.sources import values
from onerec.build.sources.gather import Raw, RawEvents
from onerec.build.sources.oddities import Oddities, Rows
from onerec.build.sources.read_table import TableFile, files_of
from onerec.build.sources.values import IdKinds, Misfits, Times, Vectors
from onerec.config.build import BuildData, Columns
from onerec.errors import ConfigError, DataError

EVENT_ROLES = ("user", "item", "time", "rating", "type", "query")
ITEM_ROLES = ("id", "title", "text", "categories", "year", "embedding")


def read(data: BuildData, oddities: Oddities) -> Raw:
    """Both tables as they are; values that fit nowhere become faults.

    Raises ConfigError when a table or column is not there, DataError when a file is damaged.
    """
    assert data.interactions is not None, "given where source is not"
    assert data.items is not None, "given where source is not"
    tables = {
        "interactions": files_of(data.interactions, "interactions"),
        "items": files_of(data.items, "items"),
    }
    events = _roles(data.columns, EVENT_ROLES)
    items = _roles(data.columns, ITEM_ROLES)
    if data.item_vectors != "embedding":
        items.pop("embedding", None)
    _drop_default_title(tables["items"], items, data.columns, oddities)
    faults = [*_missing(tables["interactions"], events), *_missing(tables["items"], items)]
    if faults:
        raise ConfigError("\n".join(faults))
    user_kinds, item_kinds = IdKinds(), IdKinds()
    raw_events = _Events(events, user_kinds, item_kinds).read(tables["interactions"], oddities)
    raw = _Items(items, item_kinds).read(tables["items"], raw_events, oddities)
    user_kinds.judge("users", data.policy.mixed_ids, oddities)
    item_kinds.judge("items", data.policy.mixed_ids, oddities)
    return raw


def read_items(
    path: str, columns: Columns, *, with_embeddings: bool, oddities: Oddities
) -> tuple[tuple[Item, ...], Float32 | None]:
    """A table of items alone, as it is, and their given vectors; faults are as those of `read`."""
    files = files_of(path, "items")
    roles = _roles(columns, ITEM_ROLES)
    if not with_embeddings:
        roles.pop("embedding", None)
    _drop_default_title(files, roles, columns, oddities)
    faults = list(_missing(files, roles))
    if faults:
        raise ConfigError("\n".join(faults))
    nothing = pa.array([], pa.string())
    no_events = RawEvents(users_E=nothing, items_E=nothing, times_E=np.zeros(0, dtype=np.int64))
    found = _Items(roles, IdKinds()).read(files, no_events, oddities)
    nameless = [found.item_rows.place(row) for row, item in enumerate(found.items) if not item.pid]
    oddities.fault(
        count=len(nameless), what="items without an id", examples=nameless, remedy="give each item one"
    )
    return tuple(found.items), found.embeddings_ND


def _roles(columns: Columns, roles: Iterable[str]) -> dict[str, str]:
    """Column by role, for those that have one."""
    named = ((role, getattr(columns, role)) for role in roles)
    return {role: column for role, column in named if column is not None}


def _drop_default_title(
    files: list[TableFile], roles: dict[str, str], columns: Columns, oddities: Oddities
) -> None:
    """Items need no title: only one that a person has named must be there."""
    is_missing = any(roles["title"] not in file.column_names() for file in files)
    if "title" not in columns.model_fields_set and is_missing:
        oddities.note(f"the items have no column {roles.pop('title')!r}, so no titles (columns.title)")


def _missing(files: list[TableFile], roles: Mapping[str, str]) -> Iterator[str]:
    """Every column that is missing, where, and what is there instead."""
    for file in files:
        there = file.column_names()
        for role, column in roles.items():
            if column not in there:
                yield f"{file.path} has no column {column!r} for columns.{role}; {_hint(column, there)}"
            elif there.count(column) > 1:
                yield f"{file.path} has {there.count(column)} columns {column!r}; rename all but one"


def _hint(column: str, there: list[str]) -> str:
    folded = {name.casefold(): name for name in there}
    near = difflib.get_close_matches(column.casefold(), folded, n=1)
    hint = f"did you mean {folded[near[0]]!r}? " if near else ""
    return f"{hint}it has {', '.join(there) or 'none'}"


@dataclass
class _Reader:
    """What both tables need: the columns by role, and misfits by role."""

    roles: Mapping[str, str]
    rows: Rows = field(default_factory=Rows)
    misfits: dict[str, Misfits] = field(init=False)

    def __post_init__(self) -> None:
        self.misfits = {role: Misfits(self.rows) for role in self.roles}

    def batches(self, files: list[TableFile], oddities: Oddities) -> Iterator[_Batch]:
        """All rows of all files, with the number of the first row of each batch."""
        first_row, wanted = 0, list(dict.fromkeys(self.roles.values()))
        for file in files:
            self.rows.begin(file.path.name, first_row)
            for batch in file.batches(wanted, oddities):
                columns = {role: batch.column(wanted.index(name)) for role, name in self.roles.items()}
                yield _Batch(columns, batch.num_rows, first_row, file.is_typed)
                first_row += batch.num_rows

    def tell_misfits(self, wanted: Mapping[str, str], oddities: Oddities) -> None:
        """Values of the roles in `wanted` that are not what they should be are faults."""
        for role, what in wanted.items():
            if role in self.misfits:
                oddities.fault(
                    count=self.misfits[role].count,
                    what=f"values in {self.roles[role]!r} that are no {what}",
                    examples=self.misfits[role].examples,
                    remedy=f"correct them, or name another column by columns.{role}",
                )


@dataclass(frozen=True)
class _Batch:
    columns: Mapping[str, pa.Array]
    num_rows: int
    first_row: int
    is_typed: bool


class _Events(_Reader):
    def __init__(self, roles: Mapping[str, str], user_kinds: IdKinds, item_kinds: IdKinds) -> None:
        super().__init__(roles)
        self.kinds = {"user": user_kinds, "item": item_kinds}
        self.times = Times(self.misfits["time"])
        self.chunks: dict[str, list[pa.Array]] = {role: [] for role in roles}

    def read(self, files: list[TableFile], oddities: Oddities) -> RawEvents:
        for batch in self.batches(files, oddities):
            self._add(batch)
        self.tell_misfits(
            {"user": "ids", "item": "ids", "time": "times or dates", "rating": "numbers"}, oddities
        )
        if not self.chunks["user"]:
            raise DataError(f"{', '.join(str(file.path) for file in files)}: there are no rows")
        ratings = self.chunks.get("rating")
        return RawEvents(
            users_E=_joined(self.chunks["user"]),
            items_E=_joined(self.chunks["item"]),
            times_E=self.times.seconds(self.roles["time"], oddities),
            ratings_E=None if ratings is None else _floats(ratings),
            types_E=_joined(self.chunks["type"]) if "type" in self.chunks else None,
            queries_E=pa.chunked_array(self.chunks["query"]) if "query" in self.chunks else None,
            rows=self.rows,
        )

    def _add(self, batch: _Batch) -> None:
        for role, kinds in self.kinds.items():
            ids = values.ids(
                batch.columns[role],
                kinds=kinds,
                misfits=self.misfits[role],
                first_row=batch.first_row,
                is_typed=batch.is_typed,
            )
            self.chunks[role].append(ids)
        self.times.add(batch.columns["time"], batch.first_row)
        if "rating" in batch.columns:
            found = values.numbers(
                batch.columns["rating"], misfits=self.misfits["rating"], first_row=batch.first_row
            )
            self.chunks["rating"].append(found.cast(pa.float32(), safe=False))
        if "type" in batch.columns:
            self.chunks["type"].append(values.texts(batch.columns["type"]).dictionary_encode())
        if "query" in batch.columns:
            self.chunks["query"].append(values.texts(batch.columns["query"]))


def _joined(chunks: list[pa.DictionaryArray]) -> pa.DictionaryArray:
    """One array with one dictionary."""
    joined = pa.chunked_array(chunks).unify_dictionaries().combine_chunks()
    return joined.chunk(0) if isinstance(joined, pa.ChunkedArray) else joined


def _floats(chunks: list[pa.FloatArray]) -> Float32:
    return np.concatenate([chunk.fill_null(float("nan")).to_numpy(zero_copy_only=False) for chunk in chunks])


class _Items(_Reader):
    def __init__(self, roles: Mapping[str, str], kinds: IdKinds) -> None:
        super().__init__(roles)
        self.kinds = kinds
        self.vectors = Vectors(self.misfits["embedding"]) if "embedding" in roles else None

    def read(self, files: list[TableFile], events: RawEvents, oddities: Oddities) -> Raw:
        items = [item for batch in self.batches(files, oddities) for item in self._items(batch)]
        self.tell_misfits({"id": "ids"}, oddities)
        if self.vectors is not None:
            what = f"lists of {self.vectors.size or 'one number of'} finite numbers"
            self.tell_misfits({"embedding": what}, oddities)
        if "year" in self.misfits and self.misfits["year"].count:
            counted, told = self.misfits["year"].count, "; ".join(self.misfits["year"].examples)
            oddities.note(
                f"values in {self.roles['year']!r} that are no years: {counted:,} ({told}); left out"
            )
        return Raw(
            events=events,
            items=tuple(items),
            embeddings_ND=None if self.vectors is None else self.vectors.rows(),
            item_rows=self.rows,
        )

    def _items(self, batch: _Batch) -> Iterator[Item]:
        if self.vectors is not None:
            self.vectors.add(batch.columns["embedding"], batch.first_row)
        found = values.ids(
            batch.columns["id"],
            kinds=self.kinds,
            misfits=self.misfits["id"],
            first_row=batch.first_row,
            is_typed=batch.is_typed,
        )
        columns = zip(
            found.to_pylist(), self._texts(batch, "title"), self._texts(batch, "text"), self._years(batch),
            self._categories(batch), strict=True,
        )  # fmt: skip
        for pid, title, text, year, categories in columns:
            yield Item(pid=pid or "", title=title or "", year=year, categories=categories, text=text or "")

    def _texts(self, batch: _Batch, role: str) -> list[str | None]:
        if role not in batch.columns:
            return [None] * batch.num_rows
        return list(pc.utf8_trim_whitespace(values.texts(batch.columns[role])).to_pylist())

    def _years(self, batch: _Batch) -> list[int | None]:
        if "year" not in batch.columns:
            return [None] * batch.num_rows
        return values.years(batch.columns["year"], misfits=self.misfits["year"], first_row=batch.first_row)

    def _categories(self, batch: _Batch) -> list[tuple[str, ...]]:
        if "categories" not in batch.columns:
            return [()] * batch.num_rows
        return values.categories(batch.columns["categories"])
