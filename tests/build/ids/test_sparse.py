import numpy as np
import pytest

from onerec.build.ids.sparse import Sparse, principal_rows


def random_sparse(rows, columns, entries, seed=0):
    rng = np.random.default_rng(seed)
    where = (rng.integers(rows, size=entries), rng.integers(columns, size=entries))
    values = rng.standard_normal(entries)
    dense = np.zeros((rows, columns))
    np.add.at(dense, where, values)
    return Sparse.of(*where, values, shape=(rows, columns)), dense


def test_products_equal_those_of_the_dense_matrix_and_of_the_transposed_one():
    matrix, dense = random_sparse(9, 6, 20)
    right = np.random.default_rng(1).standard_normal((6, 3), dtype=np.float32)
    np.testing.assert_allclose(matrix.times(right), dense @ right, atol=1e-5)
    np.testing.assert_allclose(matrix.transposed().times(np.eye(9, dtype=np.float32)), dense.T, atol=1e-6)


def test_principal_rows_are_those_of_the_exact_decomposition():
    matrix, dense = random_sparse(60, 40, 500)
    left, values, _ = np.linalg.svd(dense)
    found, axes = principal_rows(matrix, 5, rng=np.random.default_rng(3))
    np.testing.assert_allclose(np.abs(found), np.abs(left[:, :5] * values[:5]), atol=2e-3)
    np.testing.assert_allclose(axes.T @ axes, np.eye(5), atol=1e-5)
    assert (found[np.abs(found).argmax(axis=0), np.arange(5)] > 0).all()


def test_the_axes_bring_further_rows_into_the_space_of_the_rows():
    matrix, dense = random_sparse(60, 40, 500)
    found, axes = principal_rows(matrix, 5, rng=np.random.default_rng(3))
    np.testing.assert_allclose(dense @ axes, found, atol=1e-5)


def test_columns_beyond_the_rank_are_zero():
    matrix, dense = random_sparse(5, 3, 10)
    found, axes = principal_rows(matrix, 8, rng=np.random.default_rng(3))
    assert (found.shape, axes.shape) == ((5, 8), (3, 8))
    assert not found[:, 3:].any()
    assert not axes[:, 3:].any()
    np.testing.assert_allclose(found @ found.T, dense @ dense.T, atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 0), (4, 3), (0, 3)])
def test_a_matrix_without_entries_gives_zeros(shape):
    nothing = np.array([], dtype=np.int64)
    empty = Sparse.of(nothing, nothing, nothing.astype(float), shape=shape)
    found, axes = principal_rows(empty, 2, rng=np.random.default_rng(3))
    assert (found.shape, axes.shape) == ((shape[0], 2), (shape[1], 2))
    assert not found.any()
