"""Write tensors into safetensors shards as they come, holding one at a time.

The header of a safetensors file tells every offset before the data, so shapes are planned first. Format:
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import torch

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
    """Writes planned tensors of one number format in order; what is written is whole once it is left."""

    def __init__(self, folder: Path, *, dtype: torch.dtype, max_shard_bytes: int) -> None:
        self._folder, self._dtype, self._max_shard_bytes = folder, dtype, max_shard_bytes
        self._shards: list[Shard] = []
        self._file: BinaryIO | None = None
        self._file_of: dict[str, Shard] = {}
        self._open_shard: Shard | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._finish()
        elif self._file is not None:
            self._file.close()

    def plan(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Fix names, shapes and order of everything that will be written."""
        self._shards = split(shapes, item_bytes=self._dtype.itemsize, max_shard_bytes=self._max_shard_bytes)
        self._file_of = {name: shard for shard in self._shards for name in shard.shapes}

    def write(self, name: str, pieces: Iterable[torch.Tensor]) -> str:
        """Append the next planned tensor, its elements in order in pieces; the sha256 of its bytes."""
        shard = self._file_of[name]
        if shard is not self._open_shard:
            self._begin(shard)
        assert self._file is not None
        digest, elements = hashlib.sha256(), 0
        for piece in pieces:
            assert piece.dtype == self._dtype, f"{name} was planned in another number format"
            data = bytes_of(piece)
            digest.update(data)
            self._file.write(data)
            elements += piece.numel()
        assert elements == math.prod(shard.shapes[name]), f"{name} was planned with another shape"
        return digest.hexdigest()

    def _finish(self) -> None:
        """Close the last file and write the index of several."""
        if self._file is not None:
            self._file.close()
        if len(self._shards) > 1:
            weight_map = {name: shard.name for name, shard in sorted(self._file_of.items())}
            total = (
                sum(math.prod(s.shapes[name]) for s in self._shards for name in s.shapes)
                * self._dtype.itemsize
            )
            write_json(
                self._folder / INDEX_NAME, {"metadata": {"total_size": total}, "weight_map": weight_map}
            )

    def _begin(self, shard: Shard) -> None:
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
