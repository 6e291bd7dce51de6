"""Read a shard of a DCP file some rows at a time: a zip archive of torch.save at an offset of the file.

Its data is not compressed and lies in one piece, so that it needs no more memory than a block. A shard that
is laid out in another way is loaded whole, by torch and with its allow-list.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from onerec.block import Block
from onerec.errors import StorageError

BLOCK_BYTES = 16 << 20
"""Most bytes that are read at a time."""
LOCAL_HEADER_BYTES = 30
"""Of a member of a zip archive, before its name: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT"""
DATA_MEMBER = "/data/0"
"""Name, in an archive of torch.save, of the only storage of a tensor."""
FAULTS = (
    OSError,
    RuntimeError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    AttributeError,
    TypeError,
    AssertionError,
    OverflowError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
)
"""What pickles and archives with changed bytes make torch, pickle and zipfile raise, as fuzzing showed."""


@dataclass(frozen=True)
class _Layout:
    """Where the elements of a shard are in its file."""

    start: int
    size: int
    """Bytes."""
    checksum: int
    is_plain: bool
    """Whether they lie there one after the other; otherwise torch has to load it."""


@dataclass(frozen=True)
class Archive:
    """One shard: an archive of torch.save, at an offset of a file."""

    path: Path
    offset: int
    length: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    name: str

    def pieces(self, block: Block, *, checks: bool) -> Iterator[torch.Tensor]:
        """Its elements in order, flat, in pieces of whole rows, each of which lasts until the next.

        With `checks` the archive's checksum is compared. Raises StorageError where bytes are damaged.
        """
        layout = self._layout
        if not layout.is_plain:
            yield self._loaded().reshape(-1)
            return
        row_bytes = max(1, math.prod(self.shape[1:]) * self.dtype.itemsize)
        step = max(1, BLOCK_BYTES // row_bytes) * row_bytes
        checksum = 0
        with self.path.open("rb") as file:
            file.seek(layout.start)
            for begin in range(0, layout.size, step):
                piece = block.of_size(min(step, layout.size - begin))
                data = memoryview(piece.numpy())
                if file.readinto(data) != len(data):
                    raise self._damaged("it is cut off")
                checksum = zlib.crc32(data, checksum) if checks else layout.checksum
                yield piece.view(self.dtype)
        if checksum != layout.checksum:
            raise self._damaged("its checksum does not fit")

    def row(self, number: int) -> torch.Tensor:
        """One row; its bytes are not checked, which reading all pieces does."""
        layout = self._layout
        if not layout.is_plain:
            return self._loaded()[number]
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        with self.path.open("rb") as file:
            file.seek(layout.start + number * size)
            data = bytearray(file.read(size))
        if len(data) != size:
            raise self._damaged("it is cut off")
        return torch.frombuffer(data, dtype=self.dtype).reshape(self.shape[1:])

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
        return _Layout(start, size, data.CRC, is_plain)

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
        # no view of the buffer is left behind when this raises, which would be an error of its own
        self._file.seek(self._offset + self._at)
        data = self._file.read(max(0, min(len(buffer), self._length - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
