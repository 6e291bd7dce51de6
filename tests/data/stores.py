"""Stores that have an index and no tokens: enough for whatever decides which samples are read, and when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onerec.config import DataOrder, PreparedDataset
from onerec.data.preparation.index import Index, save_index
from onerec.data.store.store import FORMAT, StorePaths


def write_index_only(
    folder: Path,
    lengths,
    *,
    sources=None,
    names: Sequence[str] = ("text",),
    hashes=None,
    fingerprint: str | None = None,
    pad_id: int = 0,
    itemic_ids: tuple[int, int] = (10, 20),
    files: Sequence[dict] = (),
) -> str:
    """A store of samples of these lengths; `sources` are places in `names`, `hashes` stand for the uuids."""
    count = len(lengths)
    index = Index(
        lengths=np.asarray(lengths, np.int32),
        trained=np.asarray(lengths, np.int32) - 1,
        sources=np.zeros(count, np.int32) if sources is None else np.asarray(sources, np.int32),
        uuid_hashes=np.arange(count, dtype=np.uint64) if hashes is None else np.asarray(hashes, np.uint64),
        file_starts=np.array([0, count]),
    )
    paths = StorePaths(folder)
    folder.mkdir(parents=True)
    save_index(index, paths.index("index"))
    meta = {
        "format": FORMAT,
        "key": "index",
        "fingerprint": fingerprint or folder.name,
        "options": {"itemic_ids": itemic_ids},
        "sources": list(names),
        "pad_id": pad_id,
        "document_end_id": 1,
        "files": list(files) or [{"file": f"/data/{folder.name}.parquet", "tokens": "none.arrow"}],
    }
    paths.meta.write_text(json.dumps(meta))
    return str(folder)


def order_of(*datasets: PreparedDataset, **changes) -> DataOrder:
    """The data of a stage, with small packs."""
    settings = {
        "datasets": datasets,
        "max_length": 64,
        "num_epochs": 1,
        "num_workers": 0,
        "local_shuffle_buffer_size": 50,
        "shuffle_seed": 7,
    }
    return DataOrder(**{**settings, **changes})
