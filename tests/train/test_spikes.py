"""Losses that stand out of the recent ones, and what is written down of the steps that had them."""

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onerec.train.spikes import FEWEST_LOSSES, MOST_LOSSES, SpikeWatch, record_spike


def spikes(losses, *, deviations=6.0):
    """Which of the losses are spikes, by their place."""
    watch = SpikeWatch(deviations)
    return [step for step, loss in enumerate(losses) if watch.is_spike(loss)]


def noisy(count, *, mean=2.5, noise=0.05, slope=0.0, seed=1):
    draw = random.Random(seed)
    return [mean - slope * step + draw.gauss(0, noise) for step in range(count)]


FLAT = [2.5] * FEWEST_LOSSES


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([*noisy(50), 3.5, *noisy(50, seed=2)], [50]),
        ([*noisy(50), 1.5, *noisy(50, seed=2)], []),
        ([*noisy(50), 3.5, 3.6, 2.5, 3.5, *noisy(50, seed=2)], [50, 51, 53]),
        ([*FLAT, *[3.5, 2.5] * 20], list(range(FEWEST_LOSSES, FEWEST_LOSSES + 40, 2))),
        ([*FLAT, 2.6], [FEWEST_LOSSES]),
        ([*FLAT[1:], 9.0, 2.5, 2.5], []),
        ([*FLAT, 2.55], []),
        ([*FLAT, 2.5000001, 2.4999999], []),
        ([*noisy(50), math.nan, math.inf, -math.inf, 2.5, 3.5], [54]),
        (noisy(2000), []),
        (noisy(2000, mean=12.0, slope=0.004), []),
        ([12.0 * 0.99**step for step in range(400)], []),
        ([*noisy(100), *noisy(200, mean=4.0, seed=2)], list(range(100, 100 + FEWEST_LOSSES))),
        ([], []),
    ],
    ids=[
        "one spike",
        "a fall is none",
        "spikes do not make spikes usual",
        "many spikes, but none after another",
        "a jump from a flat curve",
        "too few to judge",
        "a flat curve that moves a little",
        "rounding",
        "not finite, which is left out",
        "noise",
        "a steady fall",
        "a fall that slows down",
        "a new level is told of until it is the usual one",
        "nothing",
    ],
)
def test_spikes_of_a_curve(losses, expected):
    assert spikes(losses) == expected


def test_a_spike_after_a_long_fall_is_held_against_the_recent_losses_only():
    falling = [10.0 - step / 50 for step in range(300)] + noisy(MOST_LOSSES, mean=4.0)
    assert spikes([*falling, 5.0]) == [len(falling)]
    assert spikes([*falling[:-100], 5.0]) == []


def test_the_number_of_deviations_decides():
    losses = [2.4, 2.6] * 20 + [2.95]
    found = [spikes(losses, deviations=deviations) for deviations in (4.4, 4.6)]
    assert found == [[40], []]


def test_zero_deviations_never_tell_of_a_spike():
    assert spikes([*FLAT, 1000.0], deviations=0.0) == []


def test_what_is_usual_is_the_mean_without_the_spikes():
    watch = SpikeWatch(6.0)
    assert math.isnan(watch.usual)
    for loss in [2.25, 2.75] * 10 + [50.0]:
        watch.is_spike(loss)
    assert watch.usual == 2.5


@given(
    st.lists(st.integers(0, 64), max_size=60),
    st.integers(-(2**20), 2**20),
    st.sampled_from([0.513, 2.031, 6.07]),
)
def test_a_constant_offset_does_not_matter(levels, offset, deviations):
    """Eighths and whole numbers, so that adding the offset rounds nothing, and no loss lies on the limit."""
    losses = [level / 8 for level in levels]
    assert spikes([loss + offset for loss in losses], deviations=deviations) == spikes(
        losses, deviations=deviations
    )


PACKS = [{"pack": 7, "loss": 9.0, "uuids": ["a", "b"]}]


def test_samples_of_a_spike_are_written_down(tmp_path):
    told = record_spike(tmp_path, step=12, loss=9.0, usual=2.5, packs=PACKS)
    path = tmp_path / "spike-step12.json"
    assert json.loads(path.read_text()) == {"step": 12, "loss": 9.0, "usual": 2.5, "packs": PACKS}
    wanted = "step 12: loss 9.0000 stands out of the recent ones, 2.5000 in the mean; its samples are in "
    assert told == f"{wanted}{path}"


def test_a_disk_that_fails_costs_the_file_only(tmp_path):
    (tmp_path / "file").write_text("")
    told = record_spike(tmp_path / "file", step=12, loss=9.0, usual=2.5, packs=PACKS)
    assert "its samples could not be written down: " in told
