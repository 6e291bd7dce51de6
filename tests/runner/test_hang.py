from __future__ import annotations

import pytest

from onerec.pulse import Beat
from runner.hang import Hang, Limits, Pulses, Stacks, Standing, blame, hang_text, parse_stacks

LIMITS = Limits(setup=100, step=10, save=50)


def beat(phase: str, step: int = 5, count: int = 1) -> Beat:
    return Beat(phase, step, count)  # type: ignore[arg-type]


def look_every_second(
    pulses: Pulses, beats: dict[int, Beat | None], *, begin: float, end: float
) -> float | None:
    """When a hang was told, while the same is shown all the time."""
    now = begin
    while now <= end:
        if pulses.look(beats, now=now) is not None:
            return now
        now += 1
    return None


@pytest.mark.parametrize(
    ("shown", "found_at"),
    [
        (beat("step"), 11),
        (beat("data"), 11),
        (beat("evaluate"), 11),
        (beat("save"), 51),
        (beat("end"), 51),
        (beat("set-up", 0), 101),
        (None, 101),
    ],
)
def test_each_phase_has_its_own_limit(shown: Beat | None, found_at: float) -> None:
    assert look_every_second(Pulses(LIMITS, now=0), {0: shown}, begin=0, end=200) == found_at


def test_whoever_moves_never_hangs() -> None:
    pulses = Pulses(LIMITS, now=0)
    assert all(pulses.look({0: beat("step", n, n)}, now=float(n)) is None for n in range(100))


def test_one_rank_that_stands_still_is_enough() -> None:
    pulses = Pulses(LIMITS, now=0)
    hangs = [pulses.look({0: beat("step", n, n), 1: beat("data", 0)}, now=float(n)) for n in range(12)]
    assert hangs[:11] == [None] * 11
    assert hangs[11] == Hang(10, (Standing(0, "step", 11, 0.0), Standing(1, "data", 0, 11.0)))


def test_a_step_may_take_ten_usual_ones_where_these_are_long() -> None:
    pulses = Pulses(LIMITS, now=0)
    for number in range(6):  # 4 s each
        assert pulses.look({0: beat("step", number, number)}, now=4.0 * number) is None
    assert look_every_second(pulses, {0: beat("step", 5, 5)}, begin=21, end=100) == 61


def test_the_time_of_getting_ready_is_no_usual_step() -> None:
    pulses = Pulses(LIMITS, now=0)
    look_every_second(pulses, {0: beat("set-up", 0)}, begin=0, end=50)
    assert look_every_second(pulses, {0: beat("step", 1)}, begin=51, end=200) == 62


def test_a_watcher_that_was_away_itself_has_seen_nothing_in_that_time() -> None:
    pulses = Pulses(LIMITS, now=0)
    assert pulses.look({0: beat("step")}, now=1) is None
    assert pulses.look({0: beat("step")}, now=5000) is None
    assert look_every_second(pulses, {0: beat("step")}, begin=5001, end=5100) == 5011


def test_ranks_that_have_ended_are_not_waited_for() -> None:
    pulses = Pulses(LIMITS, now=0)
    assert pulses.look({0: beat("step")}, now=1) is None
    assert pulses.look({}, now=90) is None
    assert look_every_second(pulses, {}, begin=91, end=300) is None


def test_an_attempt_in_which_no_rank_starts_is_found() -> None:
    assert look_every_second(Pulses(LIMITS, now=0), {}, begin=0, end=200) == 101


SLEEPER = """== 2026-11-26 10:00:00, process 12
State:\tS (sleeping)
Waits in: hrtimer_nanosleep
Thread 0x01 (most recent call first):
  File "/env/torch/distributed/watch.py", line 1 in wait

Current thread 0x02 (most recent call first):
  File "/code/onerec/data/loading/load.py", line 3 in next
"""
WAITER = SLEEPER.replace("/code/onerec/data/loading/load.py", "/env/torch/distributed/distributed_c10d.py")
STOPPED = "== 2026-11-26 10:00:00, process 12\nState:\tT (stopped)\nWaits in: do_signal_stop\n"


def test_stacks_tell_state_and_whether_the_main_thread_waits_for_others() -> None:
    assert parse_stacks(SLEEPER) == Stacks("S", has_python=True, waits_for_others=False)
    assert parse_stacks(WAITER) == Stacks("S", has_python=True, waits_for_others=True)
    assert parse_stacks(STOPPED) == Stacks("T", has_python=False, waits_for_others=False)
    assert parse_stacks(WAITER + STOPPED) == parse_stacks(STOPPED)
    assert parse_stacks("") == Stacks("", has_python=False, waits_for_others=False)


def standing(rank: int, phase: str = "step", step: int = 5, seconds: float = 10) -> Standing:
    return Standing(rank, phase, step, seconds)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("standings", "stacks", "blamed"),
    [
        ((standing(0), standing(1)), {0: WAITER, 1: STOPPED}, 1),
        ((standing(0), standing(1)), {0: WAITER, 1: WAITER.replace("S (sl", "D (disk sl")}, 1),
        ((standing(0), standing(1)), {0: WAITER, 1: ""}, 1),
        ((standing(0), standing(1)), {0: WAITER, 1: SLEEPER}, 1),
        ((standing(0, step=6), standing(1)), {0: SLEEPER, 1: WAITER}, 1),
        ((standing(0), standing(1, phase="data")), {0: WAITER, 1: WAITER}, 1),
        ((standing(0), standing(1, seconds=11)), {0: WAITER, 1: WAITER}, 1),
        ((), {}, None),
    ],
)
def test_the_rank_that_the_others_wait_for_is_blamed(
    standings: tuple[Standing, ...], stacks: dict[int, str], blamed: int | None
) -> None:
    found = blame(Hang(10, standings), {rank: parse_stacks(text) for rank, text in stacks.items()})
    assert (found.rank if found else None) == blamed


@pytest.mark.parametrize(
    ("where", "text"),
    [
        (standing(0), "hung in step 6: nothing new for 10 s (limit 10 s)"),
        (standing(0, "data"), "hung waiting for the data of step 6: nothing new for 10 s (limit 10 s)"),
        (standing(0, "save"), "hung in the save after step 5: nothing new for 10 s (limit 10 s)"),
        (None, "no rank had started after 10 s (cluster.setup_timeout_seconds)"),
    ],
)
def test_a_hang_is_told_in_a_sentence(where: Standing | None, text: str) -> None:
    assert hang_text(Hang(10, ()), where, None) == text
