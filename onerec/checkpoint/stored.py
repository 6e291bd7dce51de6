"""Read tensors of a DCP folder some rows at a time, however many ranks wrote them.

Tensors that are not sharded by rows are put together by DCP, whole. N rows of D elements.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.distributed.checkpoint.metadata import MetadataIndex, TensorStorageMetadata

from onerec.block import Block
from onerec.checkpoint.archive import FAULTS, Archive
from onerec.checkpoint.tensors import INDEX_NAME, SafeReader, read, told_as_storage
from onerec.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


class StoredTensors:
    """The tensors of a DCP folder whose names begin with a prefix, which is left off."""

    def __init__(self, folder: Path, *, prefix: str = "", checks: bool = True) -> None:
        """Reads the index; raises StorageError for one that is missing, damaged or hostile.

        Without `checks` no checksum of an archive is compared: where digests of the files are.
        """
        self.folder, self._checks, self._block = folder, checks, Block()
        try:
            metadata = SafeReader(folder).read_metadata()
            self._places = _places_of(metadata.storage_data)
            self._entries = {
                name.removeprefix(prefix): (name, entry)
                for name, entry in metadata.state_dict_metadata.items()
                if name.startswith(prefix) and isinstance(entry, TensorStorageMetadata) and _is_whole(entry)
            }
        except FAULTS as fault:
            raise StorageError(
                f"{folder / INDEX_NAME} is no index of a checkpoint ({fault}); it is damaged, choose another"
            ) from fault
        self._archives: dict[_Place, Archive] = {}

    def names(self) -> list[str]:
        """Names of the tensors."""
        return list(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def leave_out(self, name: str) -> None:
        """Act as if a tensor were not there."""
        del self._entries[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one tensor."""
        return tuple(self._entries[name][1].size)

    def pieces(self, name: str) -> Iterator[torch.Tensor]:
        """The elements of a tensor in order, in flat pieces of whole rows that last until the next one.

        Raises StorageError naming the file for one that is missing, cut, or does not keep its checksum.
        """
        chunks = self._row_chunks(name)
        if chunks is None:
            yield self._whole(name).reshape(-1)
            return
        for chunk in chunks:
            yield from self._archive(name, chunk).pieces(self._block, checks=self._checks)

    def rows(self, name: str, numbers: Sequence[int]) -> torch.Tensor:
        """Some rows of a table, ND."""
        chunks = self._row_chunks(name)
        if chunks is None:
            return self._whole(name)[list(numbers)]
        found = []
        for number in numbers:
            chunk = next(one for one in chunks if one.offsets[0] <= number < one.offsets[0] + one.sizes[0])
            found.append(self._archive(name, chunk).row(number - chunk.offsets[0]))
        return torch.stack(found)

    def _whole(self, name: str) -> torch.Tensor:
        """A tensor whose shards are no whole rows, put together by DCP."""
        stored_name, entry = self._entries[name]
        tensor = torch.empty(entry.size, dtype=entry.properties.dtype)
        with told_as_storage(self.folder):
            read({stored_name: tensor}, self.folder, whose=str(self.folder), alone=True)
        return tensor

    def _row_chunks(self, name: str) -> list[Any] | None:
        """Shards of a tensor by their first row; None where they are no whole rows.

        Raises StorageError where the shards do not make up the tensor.
        """
        shape, entry = self.shape(name), self._entries[name][1]
        chunks = sorted(
            (chunk for chunk in entry.chunks if chunk.sizes.numel()),
            key=lambda chunk: tuple(chunk.offsets),
        )
        if _are_rows(shape, chunks):
            return chunks
        if not _make_up(shape, chunks):
            raise StorageError(
                f"{self.folder}: the shards that its index tells of do not make up {name}; the checkpoint is "
                "incomplete or damaged, choose another"
            )
        return None

    def _archive(self, name: str, chunk: Any) -> Archive:
        index = MetadataIndex(self._entries[name][0], chunk.offsets)
        place = self._places.get(index)
        if place is None:
            raise StorageError(f"{self.folder}: its index does not tell where {name} lies; it is damaged")
        if place not in self._archives:
            path, dtype = self.folder / place.file, self._entries[name][1].properties.dtype
            if path.parent.resolve() != self.folder.resolve():
                raise StorageError(f"{self.folder}: its index names a file outside of it; refused")
            self._archives[place] = Archive(path, place.offset, place.length, tuple(chunk.sizes), dtype, name)
        return self._archives[place]


class _Place(NamedTuple):
    """Where a shard lies."""

    file: str
    offset: int
    length: int
    """Bytes."""


def _places_of(stored: dict[MetadataIndex, Any]) -> dict[MetadataIndex, _Place]:
    """Where each shard lies; what a damaged index makes of one lacks a part, or lies where another does."""
    places = {
        index: _Place(str(info.relative_path), int(info.offset), int(info.length))
        for index, info in stored.items()
    }
    if len({place[:2] for place in places.values()}) != len(places):
        raise ValueError("two shards are in one place")
    return places


def _are_rows(shape: tuple[int, ...], chunks: Sequence[Any]) -> bool:
    """Whether shards are whole rows that follow each other from the first to the last."""
    if not math.prod(shape):
        return not chunks
    if not shape:
        return len(chunks) == 1
    expected = 0
    for chunk in chunks:
        (start, *others), (rows, *columns) = chunk.offsets, chunk.sizes
        if start != expected or any(others) or tuple(columns) != shape[1:]:
            return False
        expected += rows
    return expected == shape[0]


def _make_up(shape: tuple[int, ...], chunks: Sequence[Any]) -> bool:
    """Whether shards cover a tensor, each of its elements once."""
    boxes = [
        tuple(range(start, start + size) for start, size in zip(chunk.offsets, chunk.sizes, strict=True))
        for chunk in chunks
    ]
    inside = (
        part.start >= 0 and part.stop <= size for box in boxes for part, size in zip(box, shape, strict=True)
    )
    overlapping = (
        all(max(a.start, b.start) < min(a.stop, b.stop) for a, b in zip(one, other, strict=True))
        for one, other in combinations(boxes, 2)
    )
    is_enough = sum(math.prod(map(len, box)) for box in boxes) == math.prod(shape)
    return is_enough and all(inside) and not any(overlapping)


def _is_whole(entry: TensorStorageMetadata) -> bool:
    """True; raises ValueError, TypeError or AttributeError for an entry of a damaged index."""
    sizes = [entry.size, *(part for chunk in entry.chunks for part in (chunk.offsets, chunk.sizes))]
    if not all(isinstance(size, torch.Size) for size in sizes):
        raise ValueError("a size is none")
    if {len(size) for size in sizes} != {len(entry.size)}:
        raise ValueError("a shard has other dimensions")
    if not isinstance(entry.properties.dtype, torch.dtype):
        raise TypeError("a number format is none")
    return True
