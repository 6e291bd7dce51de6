"""Time left, on traces of steps with saves in between."""

import json
import random

import pytest

from onerec.pace import FEWEST_STEPS, Pace
from onerec.progress import Progress


def trace(total, *, step, spread, save_every, save, first, seed=1):
    """Seconds of each step, a save counted to the step before it; the first starts everything up."""
    pick = random.Random(seed)
    steps = [step * pick.lognormvariate(0, spread) for _ in range(total)]
    steps[0] += first
    return [
        seconds + (save if save_every and number % save_every == 0 else 0)
        for number, seconds in enumerate(steps, start=1)
    ]


def judged(seconds, *, at, start=0):
    """Seconds left as judged after step `at`, and as they came to be."""
    pace, now = Pace(), 1000.0
    for number, taken in enumerate(seconds[start:at], start=start + 1):
        now += taken
        pace.reach(number, now=now)
    return pace.seconds_left(len(seconds)), sum(seconds[at:])


@pytest.mark.parametrize("at", [50, 61, 99, 100, 150, 224])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spread", [0.05, 0.3])
def test_after_fifty_steps_it_is_within_a_tenth(at, seed, spread):
    seconds = trace(600, step=2.0, spread=spread, save_every=25, save=20.0, first=90.0, seed=seed)
    told, true = judged(seconds, at=at)
    assert told == pytest.approx(true, rel=0.1)


def test_a_stage_that_goes_on_in_the_middle_is_judged_the_same():
    seconds = trace(600, step=2.0, spread=0.2, save_every=25, save=20.0, first=0.0)
    told, true = judged(seconds, at=370, start=310)
    assert told == pytest.approx(true, rel=0.1)


def test_one_slow_step_long_ago_does_not_count_for_ever():
    seconds = [1.0] * 20 + [60.0] + [1.0] * 979
    assert judged(seconds, at=600)[0] == pytest.approx(400, rel=0.01)


def test_it_follows_a_machine_that_has_become_slower():
    seconds = [1.0] * 300 + [5.0] * 300
    assert judged(seconds, at=400)[0] == pytest.approx(1000, rel=0.02)


def test_what_cannot_be_judged_yet_is_not_told():
    assert judged([1.0] * 100, at=0)[0] is None
    assert judged([1.0] * 100, at=FEWEST_STEPS)[0] is None
    assert judged([1.0] * 100, at=FEWEST_STEPS + 1)[0] == 94.0


def test_a_step_told_twice_is_one_and_several_at_once_are_several():
    pace = Pace()
    for done in (0, 10, 10, 20, 30, 40, 50):
        pace.reach(done, now=float(done))
    assert pace.seconds_left(60) == 10.0


def test_progress_tells_the_time_left_by_its_pace(tmp_path):
    clock = iter(range(10, 1000, 10))
    progress = Progress(tmp_path, total=20, unit="files", clock=lambda: next(clock))
    for done, left in ((1, None), (2, None), (3, None), (4, None), (5, None), (6, 140.0), (20, 0.0)):
        progress.update(done, loss=0.5)
        told = json.loads((tmp_path / "progress.json").read_text())
        assert told == {"done": done, "total": 20, "unit": "files", "eta_seconds": left, "loss": 0.5}
