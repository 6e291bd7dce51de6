from __future__ import annotations

import pytest

from runner.retry import Again, GiveUp, Tried, next_try


def tried(*checkpoints: int, error: str | None = None, may_retry: bool = True, code: int = 1) -> list[Tried]:
    """Attempts that failed, by the newest checkpoint after each."""
    return [Tried(may_retry, code, error, checkpoint) for checkpoint in checkpoints]


@pytest.mark.parametrize(
    ("attempts", "most", "follows"),
    [
        # without progress, as often as the cluster says
        (tried(0), 2, Again(5)),
        (tried(0, 0), 2, Again(10)),
        (
            tried(0, 0, 0),
            2,
            GiveUp(7, "3 attempts in a row brought no newer checkpoint; cluster.max_restarts is 2"),
        ),
        (
            tried(0, 0),
            1,
            GiveUp(1, "2 attempts in a row brought no newer checkpoint; cluster.max_restarts is 1"),
        ),
        (tried(0), 0, GiveUp(1)),
        # progress gives all of them back
        (tried(0, 0, 10), 2, Again(5)),
        (tried(10, 20, 30, 40, 50), 1, Again(5)),
        (tried(10, 10), 2, Again(5)),
        (tried(10, 10, 10), 2, Again(10)),
        # the same mistake of a program
        (
            tried(0, 0, error="ValueError: no"),
            9,
            GiveUp(7, "2 attempts in a row ended with this, without a newer checkpoint"),
        ),
        (tried(10, 20, error="ValueError: no"), 9, Again(5)),
        ([*tried(0, error="ValueError: no"), *tried(0, error="ValueError: 2")], 9, Again(10)),
        # what a person has to mend
        (tried(0, may_retry=False, code=6), 9, GiveUp(6)),
        # the longest pause
        (tried(*[0] * 20), 99, Again(600)),
    ],
)
def test_what_follows_a_failed_attempt(attempts: list[Tried], most: int, follows: Again | GiveUp) -> None:
    assert next_try(attempts, began_at=0, most=most, pause_seconds=5) == follows


def test_a_checkpoint_from_before_is_no_progress() -> None:
    assert next_try(tried(10, 10), began_at=10, most=1, pause_seconds=5) == GiveUp(
        1, "2 attempts in a row brought no newer checkpoint; cluster.max_restarts is 1"
    )


def test_pauses_of_many_runs_differ() -> None:
    pauses = [
        next_try(tried(0), began_at=0, most=1, pause_seconds=100, jitter=jitter) for jitter in (-1, 0, 1)
    ]
    assert pauses == [Again(90), Again(100), Again(pytest.approx(110))]
