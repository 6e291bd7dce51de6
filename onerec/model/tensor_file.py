"""Copy a safetensors file tensor by tensor, with some tables getting new rows, in the memory of a few rows.

Bytes that are not asked to change are copied as they are. The format, as safetensors documents it: an
8-byte little-endian length, a JSON header with dtype, shape and data offsets, then the data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError, safe_open

from onerec.errors import StorageError

COPY_BYTES = 16 * 2**20
ALIGNMENT = 8
METADATA = "__metadata__"


@dataclass(frozen=True)
class Growth:
    """A table of rows keeps its first `kept_rows` and gets the rows that `new_rows` yields as bytes."""

    kept_rows: int
    rows: int
    new_rows: Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: dtype as safetensors names it, shape, and the place of its bytes in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def stored_tensors(path: Path) -> dict[str, Stored]:
    """What a file holds, in the order of its bytes; raises StorageError for a damaged one."""
    try:
        with safe_open(path, framework="pt"):
            pass
    except (SafetensorError, OSError) as fault:
        raise StorageError(f"{path} is damaged ({fault}); fetch it again") from fault
    start, header = _header(path)
    stored = {
        name: Stored(
            entry["dtype"], tuple(entry["shape"]), *(start + offset for offset in entry["data_offsets"])
        )
        for name, entry in header.items()
        if name != METADATA
    }
    return dict(sorted(stored.items(), key=lambda item: item[1].begin))


def copy_tensors(
    source: Path, target: Path, *, growths: Mapping[str, Growth], dropped: frozenset[str]
) -> int:
    """Copy a file without the dropped tensors and with grown tables; returns the bytes of all its tensors.

    Nothing is written, and 0 returned, when no tensor is left.
    """
    kept = {name: tensor for name, tensor in stored_tensors(source).items() if name not in dropped}
    if not kept:
        return 0
    entries, offset = {}, 0
    for name, tensor in kept.items():
        shape = _shape_after(tensor, growths.get(name))
        size = _size_after(tensor, growths.get(name))
        entries[name] = {"dtype": tensor.dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    with source.open("rb") as reader, target.open("wb") as writer:
        _write_header(writer, {METADATA: _header(source)[1].get(METADATA, {"format": "pt"}), **entries})
        start = writer.tell()
        for name, tensor in kept.items():
            _write_tensor(reader, writer, tensor, growths.get(name))
            assert writer.tell() - start == entries[name]["data_offsets"][1], name
    return offset


def _shape_after(tensor: Stored, growth: Growth | None) -> list[int]:
    return list(tensor.shape) if growth is None else [growth.rows, *tensor.shape[1:]]


def _size_after(tensor: Stored, growth: Growth | None) -> int:
    size = tensor.end - tensor.begin
    return size if growth is None else size // tensor.shape[0] * growth.rows


def _write_tensor(reader: BinaryIO, writer: BinaryIO, tensor: Stored, growth: Growth | None) -> None:
    size = tensor.end - tensor.begin
    reader.seek(tensor.begin)
    if growth is None:
        _copy(reader, writer, size)
        return
    _copy(reader, writer, size // tensor.shape[0] * growth.kept_rows)
    writer.writelines(growth.new_rows())


def _copy(reader: BinaryIO, writer: BinaryIO, size: int) -> None:
    while size:
        piece = reader.read(min(size, COPY_BYTES))
        size -= writer.write(piece)


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    """Where the data begins, and the header."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
    return 8 + length, header


def _write_header(writer: BinaryIO, header: Mapping[str, object]) -> None:
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    writer.write(len(text).to_bytes(8, "little") + text)
