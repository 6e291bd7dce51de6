"""Build the index of a store: tokens, trained tokens, source and uuid of every sample, where files begin."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onerec.data.preparation.report import FileReport
from onerec.data.store.store import INDEX_ARRAYS, TokenFile
from onerec.progress import sync_directory


@dataclass(frozen=True)
class Index:
    """Arrays over all samples in the order of files and rows."""

    lengths: npt.NDArray[np.int32]
    trained: npt.NDArray[np.int32]
    sources: npt.NDArray[np.int32]
    """Place in the store's sources."""
    uuid_hashes: npt.NDArray[np.uint64]
    """64 bits of the uuid, the same for all pieces of a row."""
    file_starts: npt.NDArray[np.int64]
    """Number of the first sample of each file; one more than there are files."""


def build_index(
    files: Sequence[tuple[Path, FileReport]], sources: Sequence[str]
) -> tuple[Index, npt.NDArray[np.uint64]]:
    """Index of token files with their reports, and one hash of the uuid for each row that is stored."""
    places = {name: place for place, name in enumerate(sources)}
    lengths, trained, source_numbers, hashes, rows = [], [], [], [], []
    for path, report in files:
        tokens = TokenFile(path)
        names = np.array([places.get(name, -1) for name in report.sources], dtype=np.int32)
        lengths.append(tokens.lengths())
        trained.append(tokens.column("trained"))
        source_numbers.append(names[tokens.column("source")])
        hashes.append(tokens.column("uuid_hash").astype(np.uint64))
        rows.append(hashes[-1][tokens.column("piece") == 0])
    starts = np.concatenate([[0], np.cumsum([len(part) for part in lengths])])
    index = Index(
        lengths=np.concatenate(lengths).astype(np.int32),
        trained=np.concatenate(trained).astype(np.int32),
        sources=np.concatenate(source_numbers).astype(np.int32),
        uuid_hashes=np.concatenate(hashes),
        file_starts=starts.astype(np.int64),
    )
    return index, np.concatenate(rows)


def save_index(index: Index, folder: Path) -> None:
    """Write the arrays to a folder that appears whole or not at all.

    One of that name stays until the new one is on the disk; what a kill leaves aside, the next commit sweeps.
    """
    temporary = written({name: getattr(index, name) for name in INDEX_ARRAYS}, folder)
    aside = temporary.with_name(f"{temporary.name}.old")
    if folder.exists():
        folder.rename(aside)
    temporary.rename(folder)
    sync_directory(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)


def written(arrays: Mapping[str, npt.NDArray[Any]], folder: Path) -> Path:
    """A new folder beside `folder` with these arrays, all of it on the disk, to be renamed to `folder`."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    for name, array in arrays.items():
        with (temporary / f"{name}.npy").open("wb") as file:
            np.save(file, array)
            file.flush()
            os.fsync(file.fileno())
    sync_directory(temporary)
    return temporary
