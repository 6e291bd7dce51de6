"""Read a Hugging Face folder's weights into a sharded model, each rank only the rows that it owns.

Nothing is held twice: tensors are read slice by slice from memory-mapped safetensors files.
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from torch.distributed.tensor import DTensor

from onerec.errors import ConfigError
from onerec.model.hf_folder import weight_files
from onerec.model.itemic_rows import ROWS_SUFFIX

if TYPE_CHECKING:
    from torch import nn


def tensor_files(folder: Path) -> dict[str, Path]:
    """Which file of a Hugging Face folder holds each tensor; ConfigError for a folder without safetensors."""
    found: dict[str, Path] = {}
    for path in weight_files(folder):
        found.update(dict.fromkeys(_names_in(path), path))
    return found


def _names_in(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except SafetensorError as fault:
        raise ConfigError(
            f"{path} is no whole safetensors file ({fault}); get or convert it again"
        ) from fault


def weights_digest(folder: Path) -> str:
    """sha256 over the safetensors files of a folder: name, size, and the first and last MiB of each."""
    digest = hashlib.sha256()
    for path in weight_files(folder):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(1 << 20))
            file.seek(max(0, size - (1 << 20)))
            digest.update(file.read())
    return digest.hexdigest()


@torch.no_grad()
def load_weights(model: nn.Module, folder: Path, *, allow_random: bool, seed: int) -> list[str]:
    """Fill every parameter of a (sharded) model from a folder; returns the names that started at random.

    `itemic_rows` are the last rows of the table beside them. Raises ConfigError for shapes that differ and
    for missing tensors, unless `allow_random` and they train: what is frozen is in no checkpoint.
    """
    files = tensor_files(folder)
    parameters = dict(model.named_parameters())
    missing = sorted(name for name in parameters if _stored_name(name) not in files)
    if missing and not allow_random:
        raise ConfigError(
            f"{folder} lacks {len(missing)} parameters of the model, first {missing[0]}; "
            "give the right folder, or set allow_random_init_params = true"
        )
    frozen = [name for name in missing if not parameters[name].requires_grad]
    if frozen:
        raise ConfigError(
            f"{folder} lacks {frozen[0]}, which freeze_llm would leave at random; give the right folder"
        )
    for name, parameter in parameters.items():
        if name in missing:
            _fill(parameter, _random(name, parameter, seed=seed))
        else:
            _read(parameter, files[_stored_name(name)], name)
    return missing


def local_rows(parameter: torch.Tensor) -> slice:
    """Rows that this rank holds of a parameter sharded by FSDP2 (all of them when unsharded)."""
    if not isinstance(parameter, DTensor):
        return slice(0, parameter.shape[0])
    mesh, placements = parameter.device_mesh, parameter.placements
    shard = next(dim for dim, placement in enumerate(placements) if placement.is_shard())
    chunk = -(-parameter.shape[0] // mesh.size(shard))
    start = min(mesh.get_local_rank(shard) * chunk, parameter.shape[0])
    stop = min(start + chunk, parameter.shape[0])
    held = parameter.to_local().shape[0]
    assert held == stop - start, f"FSDP2 holds {held} rows, not {stop - start}"
    return slice(start, stop)


def _stored_name(name: str) -> str:
    return name.removesuffix(ROWS_SUFFIX) + "weight" if name.endswith(ROWS_SUFFIX) else name


def _read(parameter: torch.Tensor, path: Path, name: str) -> None:
    rows = local_rows(parameter)
    with safe_open(path, framework="pt") as file:
        stored = file.get_slice(_stored_name(name))
        shape = tuple(stored.get_shape())
        offset = shape[0] - parameter.shape[0] if name.endswith(ROWS_SUFFIX) else 0
        if (shape[0] - offset, *shape[1:]) != tuple(parameter.shape):
            raise ConfigError(
                f"{path}: {name} has shape {shape}, the model's config says {tuple(parameter.shape)}"
            )
        if rows.stop > rows.start:
            _local(parameter).copy_(stored[rows.start + offset : rows.stop + offset])


def _random(name: str, parameter: torch.Tensor, *, seed: int) -> torch.Tensor:
    if name.endswith("norm.weight"):
        return torch.ones(parameter.shape)
    generator = torch.Generator().manual_seed(seed ^ zlib.crc32(name.encode()))
    return torch.empty(parameter.shape).normal_(0.0, 0.02, generator=generator)


def _fill(parameter: torch.Tensor, full: torch.Tensor) -> None:
    _local(parameter).copy_(full[local_rows(parameter)])


def _local(parameter: torch.Tensor) -> torch.Tensor:
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter
