from __future__ import annotations

import numpy as np
import pytest

from onerec.data.order import shuffled


def test_an_order_is_fixed_for_ever():
    assert shuffled(12, key=("data", 7, 0, "samples")).tolist() == [4, 2, 10, 1, 11, 3, 5, 7, 6, 9, 0, 8]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000, (1 << 20) + 3])
def test_every_number_comes_once(count):
    assert np.array_equal(np.sort(shuffled(count, key=("a",))), np.arange(count))


@pytest.mark.parametrize("other", [("data", 8, 0), ("data", 7, 1), ("other", 7, 0), ("data\n7", 0)])
def test_another_key_gives_another_order(other):
    assert not np.array_equal(shuffled(1000, key=("data", 7, 0)), shuffled(1000, key=other))


def test_the_order_keeps_nothing_of_the_old_one():
    count = 100_000
    order = shuffled(count, key=("statistics",)).astype(np.int64)
    displacement = np.abs(order - np.arange(count)).mean() / count
    assert displacement == pytest.approx(1 / 3, abs=0.005)
    assert abs(np.corrcoef(order, np.arange(count))[0, 1]) < 0.015
    neighbours = np.count_nonzero(np.abs(np.diff(order)) == 1)
    assert neighbours < 20  # 2 are expected of a random order
