"""Read tensors of a DCP folder some rows at a time, however many ranks wrote them, and never whole.

DCP stores each shard as a file of torch.save, which is a zip archive whose data is not compressed, at an
offset of a larger file. Shards that are laid out in another way are loaded whole. N rows of D elements.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.checkpoint.metadata import MetadataIndex, TensorStorageMetadata

from onerec.checkpoint.tensors import SafeReader, read, told_as_storage
from onerec.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BLOCK_BYTES = 32 << 20
"""Most bytes that are read at a time."""
LOCAL_HEADER_BYTES = 30
"""Of a member of a zip archive, before its name: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT"""
DATA_MEMBER = "/data/0"
"""Name, in an archive of torch.save, of the only storage of a tensor."""


class StoredTensors:
    """The tensors of a DCP folder whose names begin with a prefix, which is left off."""

    def __init__(self, folder: Path, *, prefix: str = "") -> None:
        """Reads the index; raises StorageError for one that is missing, damaged or hostile."""
        self.folder = folder
        self._metadata = SafeReader(folder).read_metadata()
        self._entries = {
            name.removeprefix(prefix): (name, entry)
            for name, entry in self._metadata.state_dict_metadata.items()
            if name.startswith(prefix) and isinstance(entry, TensorStorageMetadata)
        }
        self._archives: dict[tuple[str, int], _Archive] = {}

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
        """The elements of a tensor in order, in flat pieces of whole rows where a row fits into a block.

        Raises StorageError naming the file for one that is missing, cut, or does not keep its checksum.
        """
        chunks = self._row_chunks(name)
        if chunks is None:
            yield self._whole(name).reshape(-1)
            return
        for chunk in chunks:
            yield from self._archive(name, chunk).pieces()

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
        held = sum(chunk.sizes.numel() for chunk in chunks)
        if held != math.prod(shape):
            raise StorageError(
                f"{self.folder}: its index tells of {held:,} of the {math.prod(shape):,} elements of {name}; "
                "the checkpoint is incomplete, choose another"
            )
        expected = 0
        for chunk in chunks:
            whole = tuple(chunk.sizes)[1:] == shape[1:] and not any(tuple(chunk.offsets)[1:])
            if not whole or (shape and chunk.offsets[0] != expected):
                return None
            expected += chunk.sizes[0] if shape else 1
        return chunks

    def _archive(self, name: str, chunk: Any) -> _Archive:
        index = MetadataIndex(self._entries[name][0], chunk.offsets)
        info = self._metadata.storage_data.get(index)
        if info is None:
            raise StorageError(f"{self.folder}: its index does not tell where {name} lies; it is damaged")
        key, dtype = (info.relative_path, info.offset), self._entries[name][1].properties.dtype
        if key not in self._archives:
            path = self.folder / info.relative_path
            if path.parent.resolve() != self.folder.resolve():
                raise StorageError(f"{self.folder}: its index names a file outside of it; refused")
            self._archives[key] = _Archive(path, info.offset, info.length, tuple(chunk.sizes), dtype, name)
        return self._archives[key]


@dataclass(frozen=True)
class _Layout:
    """Where the elements of a shard are in its file."""

    dtype: torch.dtype
    start: int
    size: int
    """Bytes."""
    checksum: int
    is_plain: bool
    """Whether they lie there one after the other; otherwise torch has to load it."""


@dataclass(frozen=True)
class _Archive:
    """One shard: an archive of torch.save, at an offset of a file."""

    path: Path
    offset: int
    length: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    name: str

    def pieces(self) -> Iterator[torch.Tensor]:
        layout = self._layout
        if not layout.is_plain:
            yield self._loaded().reshape(-1)
            return
        row_bytes = max(1, math.prod(self.shape[1:]) * layout.dtype.itemsize)
        step = max(1, BLOCK_BYTES // row_bytes) * row_bytes
        checksum = 0
        with self.path.open("rb") as file:
            file.seek(layout.start)
            for begin in range(0, layout.size, step):
                data = bytearray(min(step, layout.size - begin))
                if file.readinto(data) != len(data):
                    raise self._damaged("it is cut off")
                checksum = zlib.crc32(data, checksum)
                yield torch.frombuffer(data, dtype=layout.dtype)
        if checksum != layout.checksum:
            raise self._damaged("its checksum does not fit")

    def row(self, number: int) -> torch.Tensor:
        layout = self._layout
        if not layout.is_plain:
            return self._loaded()[number]
        size = math.prod(self.shape[1:]) * layout.dtype.itemsize
        with self.path.open("rb") as file:
            file.seek(layout.start + number * size)
            data = bytearray(file.read(size))
        if len(data) != size:
            raise self._damaged("it is cut off")
        return torch.frombuffer(data, dtype=layout.dtype).reshape(self.shape[1:])

    @cached_property
    def _layout(self) -> _Layout:
        try:
            with self._view() as view:
                like = torch.load(view, map_location="meta", weights_only=True)
                view.seek(0)
                archive = zipfile.ZipFile(view)
                members = [one for one in archive.infolist() if one.filename.endswith(DATA_MEMBER)]
                (data,) = members
                view.seek(data.header_offset)
                header = view.read(LOCAL_HEADER_BYTES)
                name_bytes, extra_bytes = struct.unpack("<HH", header[26:30])
        except FAULTS as fault:
            raise self._damaged(f"{type(fault).__name__}: {fault}") from fault
        if not isinstance(like, torch.Tensor) or (tuple(like.shape), like.dtype) != (self.shape, self.dtype):
            raise self._damaged("it holds something else than the index says")
        start = self.offset + data.header_offset + LOCAL_HEADER_BYTES + name_bytes + extra_bytes
        size = like.numel() * like.element_size()
        is_plain = (
            like.is_contiguous()
            and like.storage_offset() == 0
            and data.compress_type == zipfile.ZIP_STORED
            and data.file_size == size
        )
        return _Layout(like.dtype, start, size, data.CRC, is_plain)

    def _loaded(self) -> torch.Tensor:
        try:
            with self._view() as view:
                tensor: torch.Tensor = torch.load(view, map_location="cpu", weights_only=True)
        except FAULTS as fault:
            raise self._damaged(f"{type(fault).__name__}: {fault}") from fault
        return tensor.contiguous()

    def _view(self) -> _Window:
        return _Window(self.path, self.offset, self.length)

    def _damaged(self, what: str) -> StorageError:
        return StorageError(
            f"{self.path} is damaged where {self.name} lies: {what}; choose another checkpoint"
        )


FAULTS = (
    OSError,
    RuntimeError,
    ValueError,
    EOFError,
    KeyError,
    struct.error,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
)
"""What files that are no archive of torch.save, or hold more than a tensor, make torch and zipfile raise."""


class _Window(io.RawIOBase):
    """A part of a file, to be read as if it were a file of its own."""

    def __init__(self, path: Path, offset: int, length: int) -> None:
        super().__init__()
        self._file, self._offset, self._length, self._at = path.open("rb"), offset, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: max(0, min(len(buffer), self._length - self._at))]
        self._file.seek(self._offset + self._at)
        count = self._file.readinto(view)
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
