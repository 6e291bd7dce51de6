"""What is held out depends on the uuid alone."""

from __future__ import annotations

import numpy as np
import pytest

from onerec.data.order.holdout import CHUNK, held_out, listed, mix64


def words(*numbers):
    return np.array(numbers, dtype=np.uint64)


def test_words_are_mixed_as_splitmix64_does():
    # Vigna's reference with seed 0: its inputs are the multiples of gamma
    gamma = 0x9E3779B97F4A7C15
    inputs = words(gamma, 2 * gamma % 2**64, 3 * gamma % 2**64)
    assert mix64(inputs).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.1, 0.5, 0.99])
def test_a_fraction_of_the_rows_is_held_out_even_when_uuids_count_up(fraction):
    chosen = held_out(np.arange(200_000, dtype=np.uint64), fraction)
    assert chosen.mean() == pytest.approx(fraction, abs=0.004)
    assert np.count_nonzero(chosen[:-1] & chosen[1:]) / 200_000 == pytest.approx(fraction**2, abs=0.006)


def test_a_row_is_held_out_whatever_else_is_there():
    hashes = np.random.default_rng(0).integers(0, 2**63, CHUNK + 5000).astype(np.uint64)
    chosen = held_out(hashes, 0.2)
    assert np.array_equal(held_out(hashes[::-1], 0.2), chosen[::-1])
    assert np.array_equal(held_out(hashes[CHUNK - 7 :], 0.2), chosen[CHUNK - 7 :])
    assert np.array_equal(held_out(np.repeat(hashes[:99], 3), 0.2), np.repeat(chosen[:99], 3))


def test_a_larger_fraction_holds_out_what_a_smaller_one_does():
    hashes = np.arange(5000, dtype=np.uint64)
    assert np.all(held_out(hashes, 0.3)[held_out(hashes, 0.1)])


def test_listed_samples_are_those_that_the_others_have():
    hashes = words(5, 7, 5, 2**64 - 1, 0, 6)
    assert listed(hashes, words(7, 5, 2**64 - 1, 7)).tolist() == [True, True, True, True, False, False]
    assert listed(hashes, words()).tolist() == [False] * 6
    assert listed(words(), words(1)).tolist() == []
