"""One or several prepared datasets as one row of samples, numbered through in the order of the datasets.

One dataset is taken as it is: its numbers, its fingerprint, its mapped arrays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from onerec.config import PreparedDataset
from onerec.data.source.sources import shown
from onerec.data.store.store import Store, StoredSample
from onerec.data.text.label import Int32Array
from onerec.errors import DataError

FILES_NAMED = 3
FileFacts = list[Any]
"""What is remembered of an input file: dataset, name within it, bytes, digest of its footer."""


class Pool:
    """The samples of prepared datasets; sources with one name are one source.

    Raises DataError when a store is missing, or when the stores were made with different tokenizers. Arrays
    over all samples are mapped, or put together, each time they are asked for, and nothing here keeps them:
    their pages leave memory with them, and a worker, which reads samples only, has none.
    """

    def __init__(self, datasets: Sequence[PreparedDataset]) -> None:
        self.datasets = tuple(datasets)
        self.stores = tuple(Store(dataset.store_dir) for dataset in datasets)
        self.pad_id, self.document_end_id, self.itemic_ids = self._tokenizer()
        self.sources = tuple(sorted({name for store in self.stores for name in store.sources}))
        if len(self.stores) == 1:
            self.sources = self.stores[0].sources
        places = {name: place for place, name in enumerate(self.sources)}
        self._places = [np.array([places[name] for name in store.sources], np.int32) for store in self.stores]
        self.starts = np.cumsum([0, *map(len, self.stores)])
        """Number of the first sample of each dataset; one more than there are datasets."""

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def fingerprint(self) -> str:
        """What the order of the samples depends on."""
        fingerprints = [store.fingerprint for store in self.stores]
        if len(fingerprints) == 1:
            return fingerprints[0]
        return hashlib.sha256(json.dumps(fingerprints).encode()).hexdigest()[:16]

    @property
    def lengths(self) -> Int32Array:
        """Tokens of each sample."""
        return _joined([store.mapped("lengths") for store in self.stores])

    @property
    def trained(self) -> Int32Array:
        """Trained tokens of each sample."""
        return _joined([store.mapped("trained") for store in self.stores])

    @property
    def sources_of(self) -> Int32Array:
        """Place in `sources` of each sample."""
        if len(self.stores) == 1:
            return self.stores[0].mapped("sources")
        numbers = zip(self._places, self.stores, strict=True)
        return _joined([places[store.mapped("sources")] for places, store in numbers])

    def uuid_hashes(self, dataset: int) -> npt.NDArray[np.uint64]:
        """64 bits of the uuid of each sample of one dataset."""
        return self.stores[dataset].mapped("uuid_hashes")

    def sample(self, number: int) -> StoredSample:
        """Sample of this number, its source as a place in `sources`."""
        place = int(np.searchsorted(self.starts, number, side="right")) - 1
        sample = self.stores[place].sample(number - int(self.starts[place]))
        if len(self.stores) == 1:
            return sample
        return replace(sample, source=int(self._places[place][sample.source]))

    def files(self) -> list[FileFacts]:
        """Every input file as [dataset, name, bytes, digest of its footer], to be compared later."""
        return [
            [dataset.name, name, entry.get("size"), entry.get("footer")]
            for dataset, store in zip(self.datasets, self.stores, strict=True)
            for name, entry in zip(_names([entry["file"] for entry in store.files]), store.files, strict=True)
        ]

    def _tokenizer(self) -> tuple[int, int, range]:
        """The pad id, the document-end id and the itemic ids; all stores have to agree in them."""
        first, *others = self.stores
        for store in others:
            if _ids(store) != _ids(first):
                raise DataError(
                    f"{store.paths.root}: prepared with another tokenizer than {first.paths.root} (padding, "
                    f"document end and itemic ids are {_ids(store)}, not {_ids(first)}); prepare all "
                    "datasets of a stage with one tokenizer"
                )
        first_itemic, last_itemic = first.itemic_ids
        return first.pad_id, first.document_end_id, range(first_itemic, last_itemic + 1)


def _ids(store: Store) -> list[int]:
    return [store.pad_id, store.document_end_id, *store.itemic_ids]


def _joined(parts: Sequence[Int32Array]) -> Int32Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _names(locations: Sequence[str]) -> Iterator[str]:
    """Locations below the folder that all of them have in common: they stay when the folder is moved."""
    folders = [location.rpartition("/")[0] + "/" for location in locations]
    first, last = min(folders), max(folders)  # what these two have in common, all have
    shared = next((n for n, pair in enumerate(zip(first, last, strict=False)) if len(set(pair)) > 1), None)
    folder = first[:shared].rpartition("/")[0] + "/"
    return (shown(location.removeprefix(folder)) for location in locations)


def difference_of_files(before: Sequence[FileFacts], now: Sequence[FileFacts]) -> list[str]:
    """What became of the input files: a phrase each for those added, removed and changed; pure."""
    earlier = {(dataset, name): facts for dataset, name, *facts in before}
    present = {(dataset, name): facts for dataset, name, *facts in now}
    kinds = {
        "added": [key for key in present if key not in earlier],
        "removed": [key for key in earlier if key not in present],
        "changed": [key for key in present if key in earlier and present[key] != earlier[key]],
    }
    return [f"{_counted(keys)} {kind}: {_first(keys)}" for kind, keys in kinds.items() if keys]


def _counted(keys: Sequence[object]) -> str:
    return "1 file was" if len(keys) == 1 else f"{len(keys):,} files were"


def _first(keys: Sequence[tuple[str, str]]) -> str:
    more = len(keys) - FILES_NAMED
    named = ", ".join(f"{dataset}: {name}" for dataset, name in keys[:FILES_NAMED])
    return f"{named} and {more:,} more" if more > 0 else named
