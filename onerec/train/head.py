"""The rows of the LM head, frozen and trained ones side by side, and their product with hidden states.

What is made of the logits, a loss or a guess, is not known here. V columns, F frozen rows, R trained rows, D
width, C positions, N labels.
"""

from __future__ import annotations

import functools

import torch

ALIGNED_COLUMNS = 64
"""Where a part of the logits may start; 16 bytes are what products ask for, lines of caches are longer."""


class Head:
    """Frozen (FD) and trained rows (RD) side by side: the columns of the logits that are theirs.

    Trained columns start at an aligned one, since matrix products are slow from odd addresses; the gap before
    them has a probability of zero.
    """

    def __init__(self, weight_RD: torch.Tensor, frozen_FD: torch.Tensor | None) -> None:
        self.weight_RD = weight_RD
        self._frozen = 0 if frozen_FD is None else frozen_FD.shape[0]
        first = -(-self._frozen // ALIGNED_COLUMNS) * ALIGNED_COLUMNS
        self.trained = slice(first, first + weight_RD.shape[0])
        self.columns = self.trained.stop
        self.parts = [(self.trained, weight_RD)]
        if frozen_FD is not None:
            self.parts.insert(0, (slice(0, self._frozen), frozen_FD))

    def columns_of(self, labels_N: torch.Tensor) -> torch.Tensor:
        """Column of each label's logit."""
        gap = self.trained.start - self._frozen
        return labels_N + (labels_N >= self._frozen) * gap if gap else labels_N

    def ids_of(self, columns_N: torch.Tensor) -> torch.Tensor:
        """The token of each column: the inverse of `columns_of`."""
        gap = self.trained.start - self._frozen
        return columns_N - (columns_N >= self.trained.start) * gap if gap else columns_N

    def logits(self, hidden_CD: torch.Tensor, *, out_CV: torch.Tensor) -> None:
        """All logits of a chunk, written to `out_CV`."""
        for columns, rows in self.parts:
            multiply(hidden_CD, rows.T, out=out_CV[:, columns])
        out_CV[:, self._frozen : self.trained.start] = -torch.inf


def multiply(
    left: torch.Tensor, right: torch.Tensor, *, out: torch.Tensor, times: float = 1.0, add: bool = False
) -> None:
    """`times` x left @ right, summed in the format of `out`: written to it, or added."""
    if left.dtype == out.dtype:
        out.addmm_(left, right, beta=int(add), alpha=times)
    elif _multiplies_into_fp32(left.device, left.dtype):
        torch.addmm(out, left, right, out_dtype=out.dtype, beta=int(add), alpha=times, out=out)
    else:
        out.addmm_(left.to(out.dtype), right.to(out.dtype), beta=int(add), alpha=times)


@functools.cache
def _multiplies_into_fp32(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this torch multiplies matrices of 16 bits into fp32 there; on CUDA it does from 2.8 on."""
    ones = torch.ones(16, 16, device=device, dtype=dtype)
    total = torch.ones(16, 16, device=device)
    try:
        torch.addmm(total, ones, ones, out_dtype=torch.float32, out=total)
    except (RuntimeError, TypeError):
        return False
    return bool((total == 17).all())
