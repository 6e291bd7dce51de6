"""Tensors of a safetensors file as fp32 numpy arrays.

The format: eight bytes of length, a JSON header, then the tensors one after the other
(https://huggingface.co/docs/safetensors). Only floating numbers of 2 and 4 bytes are read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onerec.errors import DataError

Floats = npt.NDArray[np.float32]
STORED: dict[str, np.dtype[Any]] = {"BF16": np.dtype("<u2"), "F16": np.dtype("<f2"), "F32": np.dtype("<f4")}
"""How each number format is read; bf16 is the upper half of a float."""


def read_weights(paths: Sequence[Path]) -> dict[str, Floats]:
    """All tensors of some files by name; raises DataError for a file that is none or is cut short."""
    return {name: tensor for path in paths for name, tensor in _tensors(path).items()}


def _tensors(path: Path) -> dict[str, Floats]:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    try:
        header: dict[str, Any] = json.loads(data[8:start])
        return {name: _tensor(data, start, told) for name, told in header.items() if name != "__metadata__"}
    except (ValueError, KeyError) as fault:
        raise DataError(f"{path} cannot be read as safetensors ({fault}); fetch it again") from fault


def _tensor(data: bytes, start: int, told: dict[str, Any]) -> Floats:
    stored, (begin, end) = STORED[told["dtype"]], told["data_offsets"]
    values = np.frombuffer(data, stored, count=(end - begin) // stored.itemsize, offset=start + begin)
    if told["dtype"] == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32, copy=False).reshape(told["shape"])
