from __future__ import annotations

import heapq

import numpy as np
import pytest

from onerec.data.order.shuffle import block_groups, shuffled
from tests.data.shuffle_statistics import faults


def test_an_order_is_fixed_for_ever():
    assert shuffled(12, key=("data", 7, 0, "samples")).tolist() == [4, 2, 10, 1, 11, 3, 5, 7, 6, 9, 0, 8]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000, (1 << 20) + 3])
def test_every_number_comes_once(count):
    assert np.array_equal(np.sort(shuffled(count, key=("a",))), np.arange(count))


@pytest.mark.parametrize("other", [("data", 8, 0), ("data", 7, 1), ("other", 7, 0), ("data\n7", 0)])
def test_another_key_gives_another_order(other):
    assert not np.array_equal(shuffled(1000, key=("data", 7, 0)), shuffled(1000, key=other))


@pytest.mark.parametrize("count", [10_000, 200_000, 1_000_000])
def test_the_order_keeps_nothing_of_the_old_one(count):
    assert faults(shuffled(count, key=("statistics", count))) == []


def smallest_hash_first(count, *, buffer):
    """An order that looks like a shuffle: of a buffer that is kept full, the smallest hash goes out."""
    hashes = shuffled(count, key=("hashes",)).tolist()
    waiting, order = [], []
    for number in range(count):
        heapq.heappush(waiting, (hashes[number], number))
        if len(waiting) > buffer:
            order.append(heapq.heappop(waiting)[1])
    return [*order, *(number for _, number in sorted(waiting))]


def within_files(count):
    """An order that shuffles each file and keeps the order of the files."""
    parts = [start + shuffled(count // 20, key=(start,)) for start in range(0, count, count // 20)]
    return np.concatenate(parts).tolist()


@pytest.mark.parametrize(
    "order", [list(range(10_000)), smallest_hash_first(10_000, buffer=1000), within_files(10_000)]
)
def test_an_order_that_only_looks_shuffled_fails_the_statistics(order):
    assert sorted(order) == list(range(10_000))
    assert faults(order) == ["displacement", "correlation", "neighbours", "files", "spread"]


def test_groups_of_blocks_are_shuffled_whole_and_within_the_limit():
    tokens = np.random.default_rng(0).integers(1, 100, 500)
    groups = block_groups(tokens, 3000, key=("a",))
    assert np.concatenate(groups).tolist() == shuffled(500, key=("a",)).tolist()
    sizes = [int(tokens[group].sum()) for group in groups]
    assert max(sizes) <= 3000
    assert len(groups) == -(-int(tokens.sum()) // (3000 - int(tokens.max())))
    assert max(sizes) - min(sizes) <= 2 * tokens.max()


@pytest.mark.parametrize(
    ("tokens", "limit", "count"), [([5, 5, 5], 1, 3), ([5], 1, 1), ([], 1, 0), ([4, 4], 99, 1)]
)
def test_blocks_larger_than_the_limit_stand_alone(tokens, limit, count):
    assert len(block_groups(np.array(tokens, np.int64), limit, key=("a",))) == count
