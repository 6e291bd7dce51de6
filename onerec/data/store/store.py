"""The token store: one memory-mapped Arrow file per input file, and an index of all samples in arrays.

`meta.json` names the index and the files and is replaced last, so a store is whole or it is the one before.
Reading only; `prepare` writes.
"""

from __future__ import annotations

import itertools
import json
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from onerec.data.text.label import Int32Array
from onerec.errors import DataError

FORMAT = 2
"""Of meta.json and the index."""
OPEN_FILES = 256
INDEX_ARRAYS = ("lengths", "trained", "sources", "uuid_hashes", "file_starts")


@dataclass(frozen=True)
class StorePaths:
    """Every path of a prepared dataset's folder."""

    root: Path

    @property
    def meta(self) -> Path:
        """What the store is made of; there is a store when it is there."""
        return self.root / "meta.json"

    @property
    def summary(self) -> Path:
        """What a person wants to know about the dataset."""
        return self.root / "summary.json"

    @property
    def rejects(self) -> Path:
        """Every rejected row with its reason."""
        return self.root / "rejects.jsonl"

    @property
    def tokens(self) -> Path:
        """Folder of the token files."""
        return self.root / "tokens"

    @property
    def plans(self) -> Path:
        """Folder of the packing plans that loaders have made."""
        return self.root / "plans"

    def index(self, key: str) -> Path:
        """Folder of the index arrays of the store with this key."""
        return self.root / f"index-{key}"


@dataclass(frozen=True)
class StoredSample:
    """One sample as stored; arrays are views of the mapped file."""

    input_ids: Int32Array
    spans: Int32Array
    """Trained tokens as pairs [start, end), shape (k, 2)."""
    uuid: str
    source: int
    """Place in the store's sources."""
    file: str
    row: int


class Store:
    """A prepared dataset; raises DataError when there is none in the folder.

    `lengths`, `trained`, `sources_of` and `uuid_hashes` are mapped arrays with tokens, trained tokens, source
    and 64 bits of the uuid of each sample; pieces of one row have the same bits.
    """

    def __init__(self, folder: str | Path) -> None:
        self.paths = StorePaths(Path(folder))
        meta = read_meta(self.paths)
        if meta is None:
            raise DataError(f"{folder}: no prepared dataset; run its prepare step first")
        self.fingerprint: str = meta["fingerprint"]
        self.sources: tuple[str, ...] = tuple(meta["sources"])
        self.pad_id: int = meta["pad_id"]
        self.document_end_id: int = meta["document_end_id"]
        self.itemic_ids: tuple[int, ...] = tuple(meta["options"]["itemic_ids"])
        """First and last itemic id."""
        self.files: list[dict[str, Any]] = meta["files"]
        """Input files in the order of their samples, each with the name of its token file."""
        self._index = self.paths.index(meta["key"])
        self.lengths, self.trained, self.sources_of, self.uuid_hashes, self._file_starts = (
            self.mapped(name) for name in INDEX_ARRAYS
        )
        self._open = lru_cache(maxsize=OPEN_FILES)(self._token_file)

    def __len__(self) -> int:
        return len(self.lengths)

    def sample(self, number: int) -> StoredSample:
        """Sample of this number, from 0 in the order of files and rows."""
        place = int(np.searchsorted(self._file_starts, number, side="right")) - 1
        tokens = self._open(place)
        first, source = int(self._file_starts[place]), int(self.sources_of[number])
        return tokens.sample(number - first, source, self.files[place]["file"])

    def _token_file(self, place: int) -> TokenFile:
        return TokenFile(self.paths.tokens / self.files[place]["tokens"])

    def mapped(self, name: str) -> npt.NDArray[Any]:
        """One of INDEX_ARRAYS in a mapping of its own: pages that were read leave memory when it goes."""
        path = self._index / f"{name}.npy"
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as fault:
            raise DataError(f"{path}: cannot be read: {fault}; prepare the dataset again") from fault


class TokenFile:
    """One mapped token file; raises DataError when it is missing or damaged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
            self._batches = [self._reader.get_batch(k) for k in range(self._reader.num_record_batches)]
        except (OSError, pa.ArrowException) as fault:
            raise DataError(f"{path}: cannot be read: {fault}; remove it and prepare again") from fault
        self._starts = [0, *itertools.accumulate(batch.num_rows for batch in self._batches)]
        self._views: dict[int, _BatchView] = {}

    def __len__(self) -> int:
        return self._starts[-1]

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column of plain numbers over all samples; `input_ids` and `spans` are not."""
        parts = [batch.column(name).to_numpy() for batch in self._batches]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def lengths(self) -> Int32Array:
        """Tokens of each sample."""
        parts = [np.diff(batch.column("input_ids").offsets.to_numpy()) for batch in self._batches]
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def sample(self, number: int, source: int, file: str) -> StoredSample:
        """Sample of this number within the file, with the source and file that the store knows it by."""
        place = bisect_right(self._starts, number) - 1
        view, row = self._view(place), number - self._starts[place]
        return StoredSample(
            input_ids=view.input_ids.at(row),
            spans=view.spans.at(row).reshape(-1, 2),
            uuid=view.uuids[row].as_py(),
            source=source,
            file=file,
            row=int(view.rows[row]),
        )

    def _view(self, place: int) -> _BatchView:
        view = self._views.get(place)
        if view is None:
            batch = self._batches[place]
            view = self._views[place] = _BatchView(
                input_ids=_Lists.of(batch.column("input_ids")),
                spans=_Lists.of(batch.column("spans")),
                uuids=batch.column("uuid"),
                rows=batch.column("row").to_numpy(),
            )
        return view


@dataclass(frozen=True)
class _Lists:
    """A list column as two views of the mapped file: slicing them is many times quicker than Arrow's."""

    values: Int32Array
    offsets: Int32Array

    @classmethod
    def of(cls, column: pa.ListArray) -> _Lists:
        return cls(column.values.to_numpy(zero_copy_only=True), column.offsets.to_numpy())

    def at(self, row: int) -> Int32Array:
        return self.values[self.offsets[row] : self.offsets[row + 1]]


@dataclass(frozen=True)
class _BatchView:
    """The columns of one record batch that samples are read from."""

    input_ids: _Lists
    spans: _Lists
    uuids: pa.StringArray
    rows: npt.NDArray[np.int64]


def read_meta(paths: StorePaths) -> dict[str, Any] | None:
    """What meta.json says; None when there is no store, or one of another format."""
    try:
        meta: dict[str, Any] = json.loads(paths.meta.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as fault:
        raise DataError(
            f"{paths.meta}: not readable: {fault}; remove the folder and prepare it again"
        ) from fault
    return meta if meta.get("format") == FORMAT else None
