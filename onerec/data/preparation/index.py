"""Build the index of a store: tokens, trained tokens, source and uuid of every sample, where files begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onerec.data.preparation.report import FileReport
from onerec.data.store.store import INDEX_ARRAYS, TokenFile
from onerec.folder import whole_folder


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
    """Write the arrays to a folder that appears whole; one of that name stays until then."""
    with whole_folder(folder) as new:
        for name in INDEX_ARRAYS:
            np.save(new / f"{name}.npy", getattr(index, name))
