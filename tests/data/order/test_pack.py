from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onerec.data.order.pack import best_fit


def straightforward(lengths, capacity):
    """Number of packs of best-fit decreasing, one sample at a time."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms[rooms.index(min(fitting))] -= length
        else:
            rooms.append(capacity - length)
    return len(rooms)


@settings(deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=60))
def test_packs_are_those_of_best_fit_decreasing_and_none_overflows(lengths):
    packs, count = best_fit(np.array(lengths), 20)
    assert len(packs) == len(lengths)
    assert set(packs.tolist()) == set(range(count))
    assert np.bincount(packs, weights=lengths).max() <= 20
    assert count == straightforward(lengths, 20)


@pytest.mark.parametrize(("median", "spread"), [(400, 1.0), (90, 0.6), (4000, 1.0)])
def test_a_window_of_samples_needs_hardly_more_packs_than_its_tokens_do(median, spread):
    drawn = np.random.default_rng(1).lognormal(np.log(median), spread, 100_000)
    lengths = np.clip(drawn, 1, 32768).astype(np.int32)
    _, count = best_fit(lengths, 32768)
    assert count <= 1.001 * -(-lengths.sum() // 32768)
