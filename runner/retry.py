"""Whether a failed attempt is followed by another one, and when. Pure.

Restarts are for faults of the world that may be gone by then; what a person has to mend is never tried again.
Progress, which is a newer complete checkpoint, gives all restarts back: a run is left alone over night, and
does not count the faults that it survived.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_PAUSE_SECONDS = 600.0
NO_PROGRESS = 7
ATTEMPTS_WITHOUT_PROGRESS = 3


@dataclass(frozen=True)
class Tried:
    """One attempt that failed."""

    may_retry: bool
    exit_code: int
    error: str | None
    """The exception, which is the same when the same mistake fails again; None for other faults."""
    checkpoint: int
    """Step of the newest complete checkpoint after it; 0 for none."""


@dataclass(frozen=True)
class Again:
    """Start it again after a pause."""

    seconds: float


@dataclass(frozen=True)
class GiveUp:
    """Do not start it again."""

    exit_code: int
    why: str | None = None
    """What there is to say beyond the failure itself."""


def next_try(
    tried: Sequence[Tried], *, began_at: int, most: int, pause_seconds: float, jitter: float = 0.0
) -> Again | GiveUp:
    """What follows the newest of the attempts that one runner made at a step.

    `began_at` is the step of the newest checkpoint before the first of them, `most` how many restarts there
    are without progress; `jitter`, from -1 to 1, moves the pause by up to a tenth.
    """
    last = tried[-1]
    if not last.may_retry or most == 0:
        return GiveUp(last.exit_code)
    idle = attempts_without_progress(tried, began_at=began_at)
    if idle >= 2 and last.error is not None and tried[-2].error == last.error:
        return GiveUp(NO_PROGRESS, f"{idle} attempts in a row ended with this, without a newer checkpoint")
    if max(idle, 1) > most:
        why = f"{idle} attempts in a row brought no newer checkpoint; cluster.max_restarts is {most}"
        return GiveUp(NO_PROGRESS if idle >= ATTEMPTS_WITHOUT_PROGRESS else last.exit_code, why)
    pause = min(pause_seconds * 2 ** (max(idle, 1) - 1), LONGEST_PAUSE_SECONDS)
    return Again(pause * (1 + jitter / 10))


def attempts_without_progress(tried: Sequence[Tried], *, began_at: int) -> int:
    """How many of the newest attempts in a row left no newer checkpoint than there was before them."""
    before = [began_at, *(attempt.checkpoint for attempt in tried)]
    idle = 0
    for number in range(len(tried) - 1, -1, -1):
        if tried[number].checkpoint > before[number]:
            break
        idle += 1
    return idle
