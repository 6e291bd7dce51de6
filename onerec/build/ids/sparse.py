"""Truncated singular value decomposition of a sparse matrix, for millions of rows.

Memory is the entries twice and a few dense matrices of the wanted width; the sparse matrix itself is never
made dense.

Shapes: N rows, M columns, E entries, K width, R width while it is computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from onerec.build.interactions import Float32, Int32

OVERSAMPLING = 16
POWER_ITERATIONS = 6
"""More make the decomposition exact; six are enough for the slowly falling spectra of interactions."""
NEGLIGIBLE = 1e-5
"""Singular values below this share of the largest are noise of single precision."""


@dataclass(frozen=True)
class Sparse:
    """Entries of a matrix, row by row; a place that is named twice counts as the sum."""

    columns_E: Int32
    values_E: Float32
    offsets_N1: Int32
    """Entries of row n stand at offsets_N1[n] to offsets_N1[n + 1]."""
    shape: tuple[int, int]

    @classmethod
    def of(
        cls,
        rows_E: npt.NDArray[np.integer],
        columns_E: npt.NDArray[np.integer],
        values_E: npt.NDArray[np.floating],
        *,
        shape: tuple[int, int],
    ) -> Sparse:
        """Sort entries that may come in any order; at most 2**31 of them."""
        order = np.argsort(rows_E, kind="stable")
        return cls(
            columns_E=columns_E[order].astype(np.int32),
            values_E=values_E[order].astype(np.float32),
            offsets_N1=np.concatenate([[0], np.cumsum(np.bincount(rows_E, minlength=shape[0]))]).astype(
                np.int32
            ),
            shape=shape,
        )

    def transposed(self) -> Sparse:
        """The same matrix with rows and columns exchanged."""
        rows_E = np.repeat(np.arange(self.shape[0], dtype=np.int32), np.diff(self.offsets_N1))
        return Sparse.of(self.columns_E, rows_E, self.values_E, shape=self.shape[::-1])

    def times(self, dense_MK: Float32) -> Float32:
        """Product with a dense matrix, (N, K)."""
        if len(self.columns_E) == 0:
            return np.zeros((self.shape[0], dense_MK.shape[1]), dtype=np.float32)
        # sums of weighted rows of a table are this product
        product_NK = torch.nn.functional.embedding_bag(
            torch.from_numpy(self.columns_E),
            torch.from_numpy(np.ascontiguousarray(dense_MK)),
            torch.from_numpy(self.offsets_N1),
            mode="sum",
            per_sample_weights=torch.from_numpy(self.values_E),
            include_last_offset=True,
        )
        return np.asarray(product_NK.numpy())


def principal_rows(matrix: Sparse, width: int, *, rng: np.random.Generator) -> tuple[Float32, Float32]:
    """Rows in the space of the `width` largest singular values, (N, width), and the axes of it, (M, width).

    The rows are the matrix times the axes, so that further rows are brought into the same space.
    Randomised subspace iteration (Halko, Martinsson and Tropp, SIAM Review 53(2), 2011). The sign of each
    column is such that the largest entry of the rows is positive; columns beyond the rank of the matrix are
    zero.
    """
    axes_MK = np.zeros((matrix.shape[1], width), dtype=np.float32)
    rank = min(width + OVERSAMPLING, *matrix.shape)
    if rank == 0 or len(matrix.columns_E) == 0:
        return np.zeros((matrix.shape[0], width), dtype=np.float32), axes_MK
    transposed = matrix.transposed()
    basis_NR = _orthonormal(matrix.times(rng.standard_normal((matrix.shape[1], rank), dtype=np.float32)))
    for _ in range(POWER_ITERATIONS):
        basis_MR = _orthonormal(transposed.times(basis_NR))
        basis_NR = _orthonormal(matrix.times(basis_MR))
    found_MR, values_R, _ = torch.linalg.svd(
        torch.from_numpy(transposed.times(basis_NR)), full_matrices=False
    )
    kept = min(width, int((values_R > NEGLIGIBLE * values_R[0]).sum()))
    axes_MK[:, :kept] = found_MR[:, :kept].numpy()
    rows_NK = matrix.times(axes_MK)
    signs_K = np.where(_largest(rows_NK) < 0, np.float32(-1), np.float32(1))
    return rows_NK * signs_K, axes_MK * signs_K


def _orthonormal(columns_NR: Float32) -> Float32:
    return np.asarray(torch.linalg.qr(torch.from_numpy(columns_NR))[0].numpy())


def _largest(columns_NK: Float32) -> Float32:
    return columns_NK[np.abs(columns_NK).argmax(axis=0), np.arange(columns_NK.shape[1])]
