"""What the numbers of a tensor are like: range, mean, spread, tails; and the norms of a table's rows.

Large tensors are read in pieces, so that nothing is held twice. Shapes: V rows, D width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

PIECE = 1 << 22
"""Numbers that are looked at together: 16 MiB in fp32. Fewer cost threads more than they save in caches."""


@dataclass(frozen=True)
class Moments:
    """Figures of one tensor; `kurtosis` is 3 for a normal distribution."""

    count: int
    least: float
    greatest: float
    mean: float
    deviation: float
    kurtosis: float
    rms: float

    @property
    def is_finite(self) -> bool:
        """Whether no number is nan or infinite."""
        return math.isfinite(self.least) and math.isfinite(self.greatest)


@torch.no_grad()
def moments_of(tensor: torch.Tensor) -> Moments:
    """Figures of a tensor; all are nan where one number is nan."""
    lows, highs, sums = [], [], []
    for piece in tensor.detach().reshape(-1).split(PIECE):
        numbers = piece.float()
        low, high = numbers.aminmax()
        squares = numbers.square()
        powers = (numbers, squares, squares * numbers, squares.square())
        lows.append(low)
        highs.append(high)
        sums.append(torch.stack([power.sum() for power in powers]))
    count = tensor.numel()
    first, second, third, fourth = (torch.stack(sums).double().sum(0) / count).tolist()
    variance = second - first**2
    tail = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    return Moments(
        count=count,
        least=float(torch.stack(lows).min()),
        greatest=float(torch.stack(highs).max()),
        mean=first,
        deviation=math.sqrt(variance) if variance > 0 else 0.0,
        kurtosis=tail / variance**2 if variance > 0 else 0.0,
        rms=math.sqrt(second) if second >= 0 else math.nan,
    )


@torch.no_grad()
def row_norms(table_VD: torch.Tensor) -> torch.Tensor:
    """Euclidean norms of the rows, in fp32, on the CPU."""
    rows = max(1, PIECE // table_VD.shape[1])
    pieces = [torch.linalg.vector_norm(piece.float(), dim=1) for piece in table_VD.detach().split(rows)]
    return torch.cat(pieces).cpu()
