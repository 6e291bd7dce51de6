"""Estimates are right where they can be checked, and their intervals hold as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from onerec.data.order.pack import best_fit
from onerec.data.preparation.estimate import estimate_packs, estimate_total


def test_a_sample_of_everything_is_exact() -> None:
    total = estimate_total([3, 4, 5], [0, 0, 1], rows=3)
    assert (total.value, total.plus_minus) == (12, 0)


@pytest.mark.parametrize(("values", "value"), [([], 0), ([7], 700)])
def test_fewer_than_two_rows_say_nothing_about_how_far_off_they_are(values: list[int], value: int) -> None:
    total = estimate_total(values, [0] * len(values), rows=100)
    assert (total.value, total.plus_minus) == (value, None)


def test_the_interval_of_independent_rows_is_the_textbook_one() -> None:
    values = [10, 20, 30, 40]
    total = estimate_total(values, [0, 0, 0, 0], rows=400)
    assert total.value == 10_000
    error = np.std(values, ddof=1) / 2
    assert total.plus_minus == pytest.approx(1.96 * error * (1 - 4 / 400) ** 0.5 * 400)


@pytest.mark.parametrize("alike", [False, True], ids=["independent rows", "rows of a file are alike"])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(alike: bool) -> None:
    rng = np.random.default_rng(3)
    files, rows_per_file, taken = 400, 50, 5
    held = 0
    for _ in range(300):
        of_file = rng.lognormal(5, 0.6, size=(files, 1))
        of_row = rng.lognormal(0, 0.1 if alike else 0.8, size=(files, rows_per_file))
        tokens = (of_file if alike else 100) * of_row
        chosen = rng.choice(files, 40, replace=False)
        values = tokens[chosen, :taken].ravel().tolist()
        places = np.repeat(np.arange(40), taken).tolist()
        total = estimate_total(values, places, rows=tokens.size)
        assert total.plus_minus is not None
        held += abs(total.value - tokens.sum()) <= total.plus_minus
    assert held / 300 > 0.9


def test_packs_of_all_rows_are_those_that_packing_them_gives() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 2000)
    _, packs = best_fit(lengths, 128)
    assert estimate_packs(lengths.tolist(), sampled_rows=2000, rows=2000, max_length=128) == packs


def test_packs_of_a_sample_are_within_a_few_percent_also_where_padding_is_large() -> None:
    rng = np.random.default_rng(0)
    for low, high in ((1, 100), (65, 100), (20, 60)):
        lengths = rng.integers(low, high, 50_000)
        _, packs = best_fit(lengths, 128)
        sample = rng.choice(lengths, 400, replace=False).tolist()
        estimate = estimate_packs(sample, sampled_rows=400, rows=50_000, max_length=128)
        assert estimate == pytest.approx(packs, rel=0.05)


def test_without_samples_there_are_no_packs() -> None:
    assert estimate_packs([], sampled_rows=10, rows=1000, max_length=128) == 0
