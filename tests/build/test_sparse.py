import numpy as np
import pytest

from onerec.build import sparse
from onerec.build.sparse import Sparse, principal_rows


def random_sparse(rows, columns, entries, seed=0):
    rng = np.random.default_rng(seed)
    where = (rng.integers(rows, size=entries), rng.integers(columns, size=entries))
    values = rng.standard_normal(entries)
    dense = np.zeros((rows, columns))
    np.add.at(dense, where, values)
    return Sparse.of(*where, values, shape=(rows, columns)), dense


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_products_equal_those_of_the_dense_matrix_whatever_the_chunk(monkeypatch, chunk):
    monkeypatch.setattr(sparse, "CHUNK_ENTRIES", chunk)
    matrix, dense = random_sparse(9, 6, 40)
    right, left = np.random.default_rng(1).standard_normal((6, 3)), np.eye(9)
    np.testing.assert_allclose(matrix.times(right), dense @ right, atol=1e-12)
    np.testing.assert_allclose(matrix.transposed().times(left), dense.T, atol=1e-12)


def test_principal_rows_are_those_of_the_exact_decomposition():
    matrix, dense = random_sparse(60, 40, 500)
    left, values, _ = np.linalg.svd(dense)
    found = principal_rows(matrix, 5, rng=np.random.default_rng(3))
    np.testing.assert_allclose(np.abs(found), np.abs(left[:, :5] * values[:5]), atol=2e-3)
    assert (found[np.abs(found).argmax(axis=0), np.arange(5)] > 0).all()


def test_columns_beyond_the_rank_are_zero():
    matrix, dense = random_sparse(5, 3, 10)
    found = principal_rows(matrix, 8, rng=np.random.default_rng(3))
    assert found.shape == (5, 8)
    assert not found[:, 3:].any()
    np.testing.assert_allclose(found @ found.T, dense @ dense.T, atol=1e-9)


def test_a_matrix_without_columns_gives_zeros():
    nothing = np.array([], dtype=np.int64)
    empty = Sparse.of(nothing, nothing, nothing.astype(float), shape=(4, 0))
    assert not principal_rows(empty, 2, rng=np.random.default_rng(3)).any()
