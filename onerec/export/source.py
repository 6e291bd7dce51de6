"""Where the tensors of a converted folder come from: a checkpoint, and the folder its stage started from.

Tensors are told in pieces and cast on the way; nothing here writes. V rows, D columns, N chosen rows.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import torch
from safetensors import safe_open

from onerec.block import Block
from onerec.checkpoint.archive import BLOCK_BYTES
from onerec.checkpoint.stored import StoredTensors
from onerec.errors import ConfigError
from onerec.model.hf_folder import CONFIG_NAME, EMBEDDING, HEAD, read_json
from onerec.model.itemic_rows import ROWS_SUFFIX
from onerec.model.load import tensor_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

TABLES = {EMBEDDING, HEAD}
"""Tensors too large to be held whole."""
_LAYER = re.compile(r"model\.layers\.([0-9]+)\.")


class Weights(Protocol):
    """The weights of a model, told a piece at a time in one number format."""

    def names(self) -> list[str]:
        """Names of all tensors."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one."""

    def pieces(self, name: str) -> Iterator[torch.Tensor]:
        """Its elements in order, in flat pieces of whole rows, each of which lasts until the next."""

    def rows(self, name: str, numbers: Sequence[int]) -> torch.Tensor:
        """Some rows of a table, ND."""


def in_order(names: Sequence[str]) -> list[str]:
    """Names in the order of a forward pass: layer by layer, the last norm, then head and embedding."""

    def key(name: str) -> tuple[int, int, str]:
        layer = _LAYER.match(name)
        if layer:
            return (0, int(layer[1]), name)
        return ({HEAD: 2, EMBEDDING: 3}.get(name, 1), 0, name)

    return sorted(names, key=key)


@dataclass(frozen=True)
class FolderWeights:
    """Weights of a Hugging Face folder."""

    files: dict[str, Path]
    """The safetensors file of each tensor."""

    def names(self) -> list[str]:
        """Names of all tensors."""
        return list(self.files)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one."""
        return self._shapes[name]

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        found = {}
        for path in set(self.files.values()):
            with safe_open(path, framework="pt") as file:
                found.update({name: tuple(file.get_slice(name).get_shape()) for name in file.keys()})  # noqa: SIM118
        return found

    def pieces(self, name: str) -> Iterator[torch.Tensor]:
        """Its elements in order, in the format of the file."""
        shape = self.shape(name)
        return self.part(name, 0, shape[0]) if shape else iter((self._whole(name).reshape(-1),))

    def part(self, name: str, start: int, stop: int) -> Iterator[torch.Tensor]:
        """The elements of some rows in order."""
        row_bytes = max(1, math.prod(self.shape(name)[1:]) * 4)
        step = max(1, BLOCK_BYTES // row_bytes)
        for begin in range(start, stop, step):
            # opened anew, so that the pages of what was read are given back
            with safe_open(self.files[name], framework="pt") as file:
                yield file.get_slice(name)[begin : min(begin + step, stop)].reshape(-1)

    def rows(self, name: str, numbers: Sequence[int]) -> torch.Tensor:
        """Some rows of a table, ND."""
        with safe_open(self.files[name], framework="pt") as file:
            table = file.get_slice(name)
            return torch.cat([table[number : number + 1] for number in numbers])

    def _whole(self, name: str) -> torch.Tensor:
        with safe_open(self.files[name], framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
        return tensor


@dataclass(frozen=True)
class CheckpointWeights:
    """What trained from the checkpoint, what was frozen from the folder, all cast to one number format."""

    trained: StoredTensors
    frozen: FolderWeights
    dtype: torch.dtype
    _block: Block = field(default_factory=Block)

    def names(self) -> list[str]:
        """Names of all tensors of the model; itemic rows are a part of their table."""
        whole = {name for name in self.trained.names() if not name.endswith(ROWS_SUFFIX)}
        return in_order([*{*self.frozen.names(), *whole}])

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one."""
        return self.trained.shape(name) if name in self.trained else self.frozen.shape(name)

    def pieces(self, name: str) -> Iterator[torch.Tensor]:
        """Its elements in order, in pieces that last until the next.

        Raises ConfigError for numbers that the format cannot hold.
        """
        for piece in self._stored(name):
            cast = self._block.copy_of(piece, self.dtype)
            if self.dtype == torch.float16 and bool((cast.isinf() & piece.isfinite()).any()):
                raise ConfigError(
                    f"{name} has numbers beyond {torch.finfo(self.dtype).max:,.0f}, the largest of fp16; "
                    "convert with --dtype bf16 or fp32"
                )
            yield cast

    def rows(self, name: str, numbers: Sequence[int]) -> torch.Tensor:
        """Some rows of a table, ND."""
        if name in self.trained:
            return self.trained.rows(name, numbers).to(self.dtype)
        first, new = self._first_new_row(name), _rows_of(name)
        found = [
            self.frozen.rows(name, [number])
            if first is None or number < first
            else self.trained.rows(new, [number - first])
            for number in numbers
        ]
        return torch.cat([row.to(self.dtype) for row in found])

    def _stored(self, name: str) -> Iterator[torch.Tensor]:
        if name in self.trained:
            yield from self.trained.pieces(name)
            return
        first = self._first_new_row(name)
        if first is None:
            yield from self.frozen.pieces(name)
            return
        yield from self.frozen.part(name, 0, first)
        yield from self.trained.pieces(_rows_of(name))

    def _first_new_row(self, name: str) -> int | None:
        """Where the rows begin that trained alone; None for a tensor without."""
        if _rows_of(name) not in self.trained:
            return None
        return self.frozen.shape(name)[0] - self.trained.shape(_rows_of(name))[0]


def open_source(trained: StoredTensors, model_dir: Path, *, dtype: torch.dtype) -> CheckpointWeights:
    """What a checkpoint and the folder that its stage started from hold together, in a number format."""
    files = tensor_files(model_dir) if _needs_frozen(trained) else {}
    if read_json(model_dir / CONFIG_NAME).get("tie_word_embeddings"):
        files.pop(HEAD, None)
    return CheckpointWeights(trained, FolderWeights(files), dtype)


def _needs_frozen(trained: StoredTensors) -> bool:
    """Whether only rows trained: everything else is in no checkpoint."""
    return any(name.endswith(ROWS_SUFFIX) for name in trained.names())


def _rows_of(name: str) -> str:
    return name.removesuffix("weight") + ROWS_SUFFIX
