"""Write tensors into safetensors shards as they come, in pieces, of which a few are held at a time.

The header of a safetensors file tells every offset before the data, so shapes are planned first. Format:
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, BinaryIO

import torch

from onerec.block import Block
from onerec.lane import DEPTH, Lane
from onerec.model.hf_folder import INDEX_NAME, SINGLE_NAME, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from typing_extensions import Self

_SPELLINGS = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32"}


@dataclass(frozen=True)
class Shard:
    """One file: its tensors by name, in the order of their bytes."""

    name: str
    shapes: dict[str, tuple[int, ...]]


def split(shapes: Mapping[str, tuple[int, ...]], *, item_bytes: int, max_shard_bytes: int) -> list[Shard]:
    """Divide tensors, in order, into files of at most `max_shard_bytes` (or of one larger tensor)."""
    groups: list[dict[str, tuple[int, ...]]] = [{}]
    size = 0
    for name, shape in shapes.items():
        needed = math.prod(shape) * item_bytes
        if groups[-1] and size + needed > max_shard_bytes:
            groups.append({})
            size = 0
        groups[-1][name] = shape
        size += needed
    if len(groups) == 1:
        return [Shard(SINGLE_NAME, groups[0])]
    return [
        Shard(f"model-{i:05d}-of-{len(groups):05d}.safetensors", group)
        for i, group in enumerate(groups, start=1)
    ]


class ShardWriter:
    """Writes planned tensors of one number format in order, in a thread; all is written once it is left."""

    def __init__(self, folder: Path, *, dtype: torch.dtype, max_shard_bytes: int) -> None:
        self.digests: dict[str, str] = {}
        """sha256 of the bytes of each tensor; complete once the writer is left."""
        self._folder, self._dtype, self._max_shard_bytes = folder, dtype, max_shard_bytes
        self._lane = Lane()
        self._blocks = cycle([Block() for _ in range(DEPTH + 1)])  # as many wait at most, and one is filled
        self._shards: list[Shard] = []
        self._file: BinaryIO | None = None
        self._file_of: dict[str, Shard] = {}
        self._open_shard: Shard | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._lane.__exit__(kind)
        finally:
            if self._file is not None:
                self._file.close()
        if kind is None:
            self._write_index()

    def plan(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Fix names, shapes and order of everything that will be written."""
        self._shards = split(shapes, item_bytes=self._dtype.itemsize, max_shard_bytes=self._max_shard_bytes)
        self._file_of = {name: shard for shard in self._shards for name in shard.shapes}

    def write(self, name: str, pieces: Iterable[torch.Tensor]) -> None:
        """Append the next planned tensor, its elements in order in pieces, each of which is copied.

        Raises what the disk told of an earlier piece.
        """
        shard, digest, elements = self._file_of[name], hashlib.sha256(), 0
        self._lane.do(self._open, shard)
        for piece in pieces:
            assert piece.dtype == self._dtype, f"{name} was planned in another number format"
            self._lane.do(self._append, bytes_of(next(self._blocks).copy_of(piece, piece.dtype)), digest)
            elements += piece.numel()
        assert elements == math.prod(shard.shapes[name]), f"{name} was planned with another shape"
        self._lane.do(lambda: self.digests.update({name: digest.hexdigest()}))

    def _append(self, data: memoryview, digest: hashlib._Hash) -> None:
        assert self._file is not None
        self._file.write(data)
        digest.update(data)

    def _write_index(self) -> None:
        if len(self._shards) > 1:
            weight_map = {name: shard.name for name, shard in sorted(self._file_of.items())}
            total = (
                sum(math.prod(s.shapes[name]) for s in self._shards for name in s.shapes)
                * self._dtype.itemsize
            )
            write_json(
                self._folder / INDEX_NAME, {"metadata": {"total_size": total}, "weight_map": weight_map}
            )

    def _open(self, shard: Shard) -> None:
        if shard is self._open_shard:
            return
        if self._file is not None:
            self._file.close()
        self._file = (self._folder / shard.name).open("wb")
        self._file.write(_header(shard, dtype=self._dtype))
        self._open_shard = shard


def _header(shard: Shard, *, dtype: torch.dtype) -> bytes:
    document: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shard.shapes.items():
        end = offset + math.prod(shape) * dtype.itemsize
        document[name] = {"dtype": _SPELLINGS[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """The bytes of a tensor's elements, in order."""
    return memoryview(tensor.contiguous().view(-1).view(torch.uint8).numpy())
