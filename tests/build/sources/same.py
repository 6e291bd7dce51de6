"""Compares data sets whole: arrays by value and type, everything else by equality."""

import dataclasses

import numpy as np
import pyarrow as pa


def assert_same(left, right):
    """Both are equal, field by field and in their depth; a dictionary of texts is the same as the texts."""
    assert type(left) is type(right), (left, right)
    for field in dataclasses.fields(left):
        a, b = getattr(left, field.name), getattr(right, field.name)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b, err_msg=field.name)
            assert a.dtype == b.dtype, field.name
        elif isinstance(a, (pa.Array, pa.ChunkedArray)):
            assert a.to_pylist() == b.to_pylist(), field.name
        elif dataclasses.is_dataclass(a):
            assert_same(a, b)
        else:
            assert a == b, field.name
