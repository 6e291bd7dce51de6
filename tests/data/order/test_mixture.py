"""Shares of sources and datasets, and how often each sample is read for them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onerec.config import Mixture
from onerec.data.order.mixture import Group, cut, draw, epoch_span, reads_per_epoch
from onerec.data.order.shuffle import CHUNK
from onerec.errors import ConfigError

NEWS, CHAT, CODE = Group("news", 100, 1000), Group("chat", 50, 2000), Group("code", 850, 850)
GROUPS = (NEWS, CHAT, CODE)


def test_without_a_mixture_each_sample_is_read_once():
    assert reads_per_epoch(None, GROUPS) == [100, 50, 850]


def test_epochs_say_how_often_a_name_is_read_and_others_are_read_once():
    assert reads_per_epoch(Mixture(epochs={"chat": 2.5, "code": 0}), GROUPS) == [100, 125, 0]


def test_weights_of_samples_share_out_the_samples_that_there_are():
    reads = reads_per_epoch(Mixture(unit="samples", weights={"news": 1, "chat": 3, "code": 0}), GROUPS)
    assert reads == [250, 750, 0]


def test_weights_of_tokens_share_out_the_tokens_that_there_are():
    reads = reads_per_epoch(Mixture(unit="tokens", weights={"news": 2, "chat": 1, "code": 2}), GROUPS)
    means = [Fraction(group.tokens, group.samples) for group in GROUPS]
    assert [each * mean for each, mean in zip(reads, means, strict=True)] == [1540, 770, 1540]


@pytest.mark.parametrize(
    ("mixture", "fault"),
    [
        (
            {"epochs": {"new": 1}},
            r"epochs: no source 'new'; did you mean 'news'\? there is 'news', 'chat', 'code'",
        ),
        (
            {"by": "dataset", "epochs": {"xyz": 1}},
            r"epochs: no dataset 'xyz'; there is 'news', 'chat', 'code'",
        ),
        ({"weights": {"news": 1, "cat": 2}}, r"weights: no source 'cat'; did you mean 'chat'\?"),
        (
            {"weights": {"news": 1}},
            "weights: no weight for 'chat', 'code'; give every source one, 0 leaves it out",
        ),
        ({"epochs": {"news": 0, "chat": 0, "code": 0}}, "an epoch would read nothing"),
    ],
)
def test_a_mixture_that_does_not_fit_is_told_with_the_names_that_there_are(mixture, fault):
    with pytest.raises(ConfigError, match=fault):
        reads_per_epoch(Mixture(**mixture), GROUPS)


def test_many_names_are_cut_short():
    groups = [Group(f"s{n}", 1, 1) for n in range(30)]
    with pytest.raises(ConfigError, match=r"'s19' and 10 more$"):
        reads_per_epoch(Mixture(epochs={"other": 1}), groups)


def test_a_weight_needs_samples():
    groups = (NEWS, Group("held out", 0, 0))
    with pytest.raises(ConfigError, match="no training sample in 'held out'; set the weight to 0"):
        reads_per_epoch(Mixture(weights={"news": 1, "held out": 1}), groups)
    assert reads_per_epoch(Mixture(weights={"news": 1, "held out": 0}), groups) == [100, 0]


@given(st.fractions(0, 40), st.integers(0, 50))
def test_the_parts_of_epochs_join(each, epoch):
    start, end = epoch_span(each, epoch)
    assert epoch_span(each, epoch + 1)[0] == end
    assert abs(end - each * (epoch + 1)) <= Fraction(1, 2)
    assert end - start in {int(each), int(each) + 1}


@given(st.integers(1, 9), st.integers(0, 50), st.integers(0, 50))
def test_a_span_is_cut_into_whole_passes_and_parts_of_passes(size, start, length):
    whole, parts = cut(size, start, start + length)
    assert whole * size + sum(last - first for _, first, last in parts) == length
    assert len(parts) <= 2
    assert all(0 <= first < last <= size for _, first, last in parts)
    places = {number * size + place for number, first, last in parts for place in range(first, last)}
    assert places <= set(range(start, start + length))


def test_nothing_is_cut_from_an_empty_group():
    assert cut(0, 0, 0) == (0, [])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-1, 1), min_size=1, max_size=40), st.fractions(0, 4), st.fractions(0, 4))
def test_no_sample_is_read_more_than_once_more_often_than_another_after_any_epoch(numbers, first, second):
    numbers = np.array(numbers, dtype=np.int16)
    sizes = [int(np.count_nonzero(numbers == place)) for place in range(2)]
    groups = [Group(f"group {place}", size, size) for place, size in enumerate(sizes)]
    reads = [share * size for share, size in zip((first, second), sizes, strict=True)]
    times = np.zeros(len(numbers), dtype=np.int64)
    for epoch in range(6):
        drawn = draw(numbers, groups, reads, key=("data", 3), epoch=epoch)
        assert np.all(np.diff(drawn.astype(np.int64)) >= 0)
        times += np.bincount(drawn, minlength=len(numbers))
        for place, each in enumerate(reads):
            of_group = times[numbers == place]
            assert of_group.sum() == int(each * (epoch + 1) + Fraction(1, 2))
            assert np.ptp(of_group) <= 1 if len(of_group) else True
    assert times[numbers == -1].sum() == 0


def test_a_draw_is_fixed_by_its_key_and_epoch():
    numbers = np.zeros(1000, dtype=np.int16)
    groups, reads = [Group("a", 1000, 1)], [Fraction(300)]

    def drawn(seed, epoch, name="a"):
        named = [Group(name, 1000, 1)] if name != "a" else groups
        return draw(numbers, named, reads, key=("data", seed), epoch=epoch).tolist()

    assert drawn(3, 0) == drawn(3, 0)
    assert set(drawn(3, 0)).isdisjoint(drawn(3, 1))
    assert drawn(3, 0) != drawn(4, 0)
    assert drawn(3, 0) != drawn(3, 0, name="b")


def test_what_is_drawn_of_a_group_is_spread_over_all_of_it():
    numbers = np.tile(np.array([0, 1], dtype=np.int16), 2 * CHUNK // 2 + 50)
    groups = [Group(name, len(numbers) // 2, 1) for name in ("a", "b")]
    drawn = draw(numbers, groups, [Fraction(100_000), Fraction(0)], key=("data", 3), epoch=0)
    assert len(drawn) == 100_000
    assert set((drawn % 2).tolist()) == {0}
    quarters = np.bincount(drawn // (len(numbers) // 4 + 1))
    assert quarters.tolist() == pytest.approx([25_000] * 4, abs=5 * 137)
