"""The learning rate: warm-up from above zero, decay to the floor, then the floor for ever."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onerec.config import Optim
from onerec.train.schedule import learning_rate

KINDS = ("cosine", "linear", "constant", "wsd")
WSD = {"lr_scheduler_type": "wsd", "min_lr": 0.1}


def rates(steps, total_steps=100, **keys):
    optim = Optim(learning_rate=1.0, **keys)
    return [pytest.approx(learning_rate(step, optim, total_steps=total_steps), abs=1e-9) for step in steps]


@pytest.mark.parametrize(
    ("keys", "steps", "expected"),
    [
        ({"num_warmup_steps": 4}, [0, 1, 3, 4], [0.25, 0.5, 1.0, 1.0]),
        ({"min_lr": 0.1, "num_training_steps": 10}, [0, 5, 10, 11, 500], [1.0, 0.55, 0.1, 0.1, 0.1]),
        ({"lr_scheduler_type": "linear", "num_training_steps": 10}, [0, 5, 9, 10], [1.0, 0.5, 0.1, 0.0]),
        ({"lr_scheduler_type": "constant", "num_warmup_steps": 2}, [0, 1, 2, 99], [0.5, 1.0, 1.0, 1.0]),
        ({"min_lr": 0.2}, [0, 50, 100], [1.0, 0.6, 0.2]),
        ({"num_warmup_steps": 5, "num_training_steps": 5}, [4, 5, 6], [1.0, 0.0, 0.0]),
        ({"num_warmup_steps": 5, "num_training_steps": 6}, [4, 5, 6], [1.0, 1.0, 0.0]),
    ],
)
def test_rates(keys, steps, expected):
    assert rates(steps, **keys) == expected


@pytest.mark.parametrize(
    ("keys", "steps", "expected"),
    [
        (
            {"num_decay_steps": 4, "num_training_steps": 20},
            [0, 15, 16, 17, 18, 19],
            [1, 1, 1, 0.775, 0.55, 0.325],
        ),
        ({"num_decay_steps": 4, "num_training_steps": 20}, [20, 21, 500], [0.1, 0.1, 0.1]),
        ({"num_training_steps": 20}, [17, 18, 19, 20], [1, 1, 0.55, 0.1]),
        ({}, [90, 95, 99, 100], [1, 0.55, 0.19, 0.1]),
        ({"num_training_steps": 9}, [7, 8, 9], [1, 1, 0.1]),
        ({"num_training_steps": 1}, [0, 1, 2], [1, 0.1, 0.1]),
        ({"num_warmup_steps": 2, "num_training_steps": 20}, [0, 1, 2, 18, 19, 20], [0.5, 1, 1, 1, 0.55, 0.1]),
        (
            {"num_warmup_steps": 6, "num_decay_steps": 8, "num_training_steps": 10},
            [5, 6, 8, 10],
            [1, 1, 0.55, 0.1],
        ),
        (
            {"num_warmup_steps": 4, "num_decay_steps": 3, "num_training_steps": 2},
            [2, 3, 4, 5],
            [0.75, 1, 0.1, 0.1],
        ),
    ],
    ids=[
        "stable, then linear",
        "the floor for ever",
        "a tenth of the steps",
        "a tenth of the stage",
        "at least one step",
        "one step",
        "after a warm-up",
        "longer than what is left",
        "a warm-up past the end",
    ],
)
def test_rates_of_wsd(keys, steps, expected):
    assert rates(steps, **WSD, **keys) == expected


def test_a_stage_of_one_step_trains_at_the_full_rate():
    assert [rates([0], total_steps=1, lr_scheduler_type=kind) for kind in KINDS] == [[1.0]] * 4


def test_training_goes_on_at_the_floor_when_it_is_longer_than_the_decay():
    assert rates([10, 500, 999], total_steps=1000, min_lr=0.1, num_training_steps=10) == [0.1] * 3


def test_a_stage_that_stops_before_the_end_of_the_decay_ends_above_the_floor():
    assert rates([50], total_steps=51, min_lr=0.1, num_training_steps=100) == [0.55]


@given(
    kind=st.sampled_from(KINDS),
    peak=st.floats(1e-8, 1.0),
    floor_share=st.floats(0.0, 1.0),
    num_warmup_steps=st.integers(0, 12),
    num_training_steps=st.none() | st.integers(1, 30),
    num_decay_steps=st.none() | st.integers(1, 40),
    total_steps=st.integers(1, 40),
)
def test_the_rate_rises_in_the_warm_up_and_falls_to_the_floor(
    kind, peak, floor_share, num_warmup_steps, num_training_steps, num_decay_steps, total_steps
):
    optim = Optim(
        lr_scheduler_type=kind,
        learning_rate=peak,
        min_lr=peak * floor_share,
        num_warmup_steps=num_warmup_steps,
        num_training_steps=num_training_steps,
        num_decay_steps=num_decay_steps,
    )
    curve = [learning_rate(step, optim, total_steps=total_steps) for step in range(60)]
    rising, falling = curve[:num_warmup_steps], curve[num_warmup_steps:]
    rounding = 1e-12 * peak
    assert all(0 < rate <= peak + rounding for rate in rising)
    assert rising == sorted(rising)
    assert rising[-1:] in ([], [pytest.approx(peak)])
    assert all(optim.min_lr - rounding <= rate <= peak + rounding for rate in falling)
    assert all(after <= before + rounding for before, after in pairwise(falling))
    decay_end = num_training_steps or total_steps
    floor = peak if kind == "constant" else optim.min_lr
    assert set(curve[max(decay_end, num_warmup_steps) :]) == {floor}
    if decay_end > num_warmup_steps:
        assert falling[0] == pytest.approx(peak)
