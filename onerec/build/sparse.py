"""Truncated singular value decomposition of a sparse matrix, in numpy alone.

Memory is a few dense matrices of the wanted width; the sparse matrix itself is never made dense.

Shapes: N rows, M columns, E entries, K width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CHUNK_ENTRIES = 200_000
"""Entries whose products exist at one time."""
OVERSAMPLING = 16
POWER_ITERATIONS = 6
"""More make the decomposition exact; six are enough for the slowly falling spectra of interactions."""


@dataclass(frozen=True)
class Sparse:
    """Entries of a matrix, sorted by row; a place that is named twice counts as the sum."""

    rows_E: Ints
    columns_E: Ints
    values_E: Floats
    shape: tuple[int, int]

    @classmethod
    def of(cls, rows_E: Ints, columns_E: Ints, values_E: Floats, *, shape: tuple[int, int]) -> Sparse:
        """Sort entries that may come in any order."""
        order = np.argsort(rows_E, kind="stable")
        return cls(rows_E[order], columns_E[order], values_E[order], shape)

    def transposed(self) -> Sparse:
        """The same matrix with rows and columns exchanged."""
        return Sparse.of(self.columns_E, self.rows_E, self.values_E, shape=self.shape[::-1])

    def times(self, dense_MK: Floats) -> Floats:
        """Product with a dense matrix, (N, K)."""
        product_NK = np.zeros((self.shape[0], dense_MK.shape[1]))
        for start in range(0, len(self.rows_E), CHUNK_ENTRIES):
            part = slice(start, start + CHUNK_ENTRIES)
            rows, begins = np.unique(self.rows_E[part], return_index=True)
            terms = self.values_E[part, None] * dense_MK[self.columns_E[part]]
            product_NK[rows] += np.add.reduceat(terms, begins)
        return product_NK


def principal_rows(matrix: Sparse, width: int, *, rng: np.random.Generator) -> Floats:
    """Rows in the space of the `width` largest singular values (U times S), (N, width).

    Randomised subspace iteration (Halko, Martinsson and Tropp, SIAM Review 53(2), 2011). The sign of each
    column is such that its largest entry is positive; columns beyond the rank of the matrix are zero.
    """
    rank = min(width + OVERSAMPLING, *matrix.shape)
    found_NK = np.zeros((matrix.shape[0], width))
    if rank == 0:
        return found_NK
    transposed = matrix.transposed()
    basis_NR = np.linalg.qr(matrix.times(rng.standard_normal((matrix.shape[1], rank))))[0]
    for _ in range(POWER_ITERATIONS):
        basis_MR = np.linalg.qr(transposed.times(basis_NR))[0]
        basis_NR = np.linalg.qr(matrix.times(basis_MR))[0]
    left_RR, values_R, _ = np.linalg.svd(transposed.times(basis_NR).T, full_matrices=False)
    rows_NR = basis_NR @ (left_RR * values_R)
    kept = min(width, rows_NR.shape[1])
    found_NK[:, :kept] = _signed(rows_NR[:, :kept])
    return found_NK


def _signed(columns_NK: Floats) -> Floats:
    largest_K = columns_NK[np.abs(columns_NK).argmax(axis=0), np.arange(columns_NK.shape[1])]
    return np.asarray(columns_NK * np.where(largest_K < 0, -1.0, 1.0))
