"""How long the rest of some work takes, judged from its last steps and the pauses between them; has no clock.

Saves and evaluations are pauses: they are measured, and those to come are counted by how far apart they were.
Nothing is told before there is enough to judge by.
"""

from __future__ import annotations

from collections import deque

RECENT_STEPS = 50
FEWEST_STEPS = 5
"""Steps that have to be timed before anything is told."""
PAUSES = 8
"""Newest pauses that count."""
PAUSE_FACTOR = 3.0
"""A step that takes this many times the usual one holds a pause."""


class Pace:
    """Takes in when each step was done. The first is not timed: it compiles, and waits for what starts up."""

    def __init__(self) -> None:
        self._reached: tuple[int, float] | None = None
        self._first = 0
        self._recent: deque[float] = deque(maxlen=RECENT_STEPS)
        self._pauses: deque[tuple[int, float]] = deque(maxlen=PAUSES)
        """Steps before each, and its seconds beyond those of a usual step."""

    def reach(self, done: int, *, now: float) -> None:
        """`done` steps are finished at `now`, in seconds of any clock that never goes back."""
        if self._reached is None:
            self._reached, self._first = (done, now), done
            return
        before, at = self._reached
        if done <= before:
            return
        self._reached = (done, now)
        usual = self._usual_seconds()
        if usual is not None and now - at > (done - before - 1 + PAUSE_FACTOR) * usual:
            self._pauses.append((done, now - at - (done - before) * usual))
        self._recent.append((now - at) / (done - before))

    def seconds_left(self, total: int) -> float | None:
        """Seconds until `total` steps are done and what follows the last one; None: not known yet."""
        usual = self._usual_seconds()
        if usual is None or self._reached is None:
            return None
        return max(0, total - self._reached[0]) * usual + self._pauses_left(total)

    def _usual_seconds(self) -> float | None:
        """Mean of the recent steps without a pause, as their median tells; the median itself is too low."""
        if len(self._recent) < FEWEST_STEPS:
            return None
        limit = PAUSE_FACTOR * sorted(self._recent)[len(self._recent) // 2]
        kept = [seconds for seconds in self._recent if seconds <= limit]
        return sum(kept) / len(kept)

    def _pauses_left(self, total: int) -> float:
        if not self._pauses or self._reached is None:
            return 0.0
        first, last = self._pauses[0][0], self._pauses[-1][0]
        between = (last - first) / (len(self._pauses) - 1) if len(self._pauses) > 1 else last - self._first
        since = self._reached[0] - last
        apart = max(between, since, 1.0)
        cost = sum(seconds for _, seconds in self._pauses) / len(self._pauses)
        return max(0, (total - last) // apart - since // apart) * cost
