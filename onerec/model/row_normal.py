"""The normal distribution of a table's rows, and new rows drawn from it.

Reads and draws some thousand rows at a time. Shapes: N rows, D width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from onerec.errors import ConfigError

ROWS_AT_A_TIME = 4096
JITTERS = (0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
"""Shares of the mean variance put on the diagonal, the first that makes the covariance factorable."""


@dataclass(frozen=True)
class RowNormal:
    """Mean and lower Cholesky factor of the covariance, both float32."""

    mean_D: torch.Tensor
    factor_DD: torch.Tensor

    def draw(self, count: int, *, dtype: torch.dtype, seed: int, name: str) -> Iterator[bytes]:
        """Bytes of `count` rows in pieces; seed and name alone decide them."""
        generator = torch.Generator().manual_seed(_stream(seed, name))
        for start in range(0, count, ROWS_AT_A_TIME):
            size = (min(ROWS_AT_A_TIME, count - start), len(self.mean_D))
            rows_ND = torch.randn(size, generator=generator) @ self.factor_DD.T + self.mean_D
            yield rows_ND.to(dtype).contiguous().view(torch.uint8).numpy().tobytes()


def measure(path: Path, name: str, *, rows: int) -> RowNormal:
    """Distribution of the first `rows` rows of a table in a safetensors file; sums are in float64.

    Raises ConfigError when one of the rows is not finite.
    """
    with safe_open(path, framework="pt") as file:
        table = file.get_slice(name)
        width = table.get_shape()[1]
        bounds = [(start, min(start + ROWS_AT_A_TIME, rows)) for start in range(0, rows, ROWS_AT_A_TIME)]
        sum_D = torch.zeros(width, dtype=torch.float64)
        for start, end in bounds:
            sum_D += table[start:end].double().sum(dim=0)
        mean_D = (sum_D / rows).float()
        scatter_DD = torch.zeros(width, width, dtype=torch.float64)
        for start, end in bounds:
            centred_ND = table[start:end].float() - mean_D
            scatter_DD += centred_ND.T @ centred_ND
    if not torch.isfinite(scatter_DD).all():
        raise ConfigError(f"{path}: rows of {name} are not finite; give a model that is whole")
    return RowNormal(mean_D, _factor(scatter_DD / max(rows - 1, 1)))


def _factor(covariance_DD: torch.Tensor) -> torch.Tensor:
    variance = covariance_DD.diagonal().mean()
    identity_DD = torch.eye(len(covariance_DD), dtype=torch.float64)
    if variance == 0:
        return torch.zeros_like(covariance_DD).float()
    for jitter in JITTERS:
        factor_DD, fault = torch.linalg.cholesky_ex(covariance_DD + jitter * variance * identity_DD)
        if fault == 0:
            return factor_DD.float()
    raise AssertionError("a covariance with a thousandth of its variance on the diagonal has a factor")


def _stream(seed: int, name: str) -> int:
    """Seed of one table's generator: tables of the same shape must not get the same rows."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=7).digest(), "big")
