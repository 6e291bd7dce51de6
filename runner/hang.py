"""Whether the ranks of a training stage still move, judged from their signs of life. Pure: the time is given.

A rank moves when what it shows changes; whose clock says what does not matter, so clocks may jump. When one
rank hangs all of them soon stand still, and the one to name is the one that is behind.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from onerec.pulse import PHASES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onerec.pulse import Beat, Phase

USUAL_STEPS = 50
STEP_MARGIN = 10
"""A step may take this many times the usual one, where that is longer than its limit."""
OWN_PAUSE_SECONDS = 10.0
"""A watcher that was itself away for longer, as with the whole machine, has seen nothing meanwhile."""


@dataclass(frozen=True)
class Limits:
    """How long a rank may show nothing new, in seconds."""

    setup: float
    """From the start of the attempt to the end of its first step."""
    step: float
    """Waiting for data, in a step, or in one pack of an evaluation."""
    save: float
    """Copying a checkpoint, and waiting for the one before it."""

    def of(self, phase: Phase, *, usual_step: float) -> float:
        """The limit of what a rank is at."""
        if phase == "set-up":
            return self.setup
        if phase in {"save", "end"}:
            return self.save
        return max(self.step, STEP_MARGIN * usual_step)


@dataclass(frozen=True)
class Standing:
    """Where one rank stands, and for how long it has not moved."""

    rank: int
    phase: Phase
    step: int
    seconds: float


@dataclass(frozen=True)
class Hang:
    """An attempt that no longer moves."""

    limit: float
    """Seconds; what the rank that was found first exceeded."""
    standings: tuple[Standing, ...]
    """All ranks, in their order."""


class Pulses:
    """What was seen of the ranks of one attempt, and since when each has shown nothing new."""

    def __init__(self, limits: Limits, *, now: float) -> None:
        self._limits = limits
        self._looked = now
        self._beats: dict[int, Beat | None] = {}
        self._moved: dict[int, float] = {}
        self._began = now
        self._steps: deque[float] = deque(maxlen=USUAL_STEPS)
        self._stepped: tuple[int, float] | None = None

    def look(self, beats: Mapping[int, Beat | None], *, now: float) -> Hang | None:
        """Take in what all running ranks show; tells the hang when one of them has exceeded its limit."""
        away = now - self._looked
        if away > OWN_PAUSE_SECONDS:
            self._moved = {rank: at + away for rank, at in self._moved.items()}
            self._began += away
        self._looked = now
        for rank, beat in beats.items():
            if rank not in self._moved or beat != self._beats[rank]:
                self._beats[rank], self._moved[rank] = beat, now
        self._time_steps(now)
        return self._hang(beats, now)

    def _time_steps(self, now: float) -> None:
        beats = [beat for beat in self._beats.values() if beat is not None and beat.phase != "set-up"]
        if not beats:  # the time of getting ready is no time of a step
            return
        done = max(beat.step for beat in beats)
        if self._stepped is not None and done > self._stepped[0]:
            step, at = self._stepped
            self._steps.append((now - at) / (done - step))
        if self._stepped is None or done > self._stepped[0]:
            self._stepped = (done, now)

    def _hang(self, running: Mapping[int, Beat | None], now: float) -> Hang | None:
        usual = median(self._steps) if self._steps else 0.0
        standings = tuple(self._standing(rank, now) for rank in sorted(running))
        for standing in standings:
            limit = self._limits.of(standing.phase, usual_step=usual)
            if standing.seconds > limit:
                return Hang(limit, standings)
        if not self._moved and now - self._began > self._limits.setup:  # ended ranks have been seen
            return Hang(self._limits.setup, ())
        return None

    def _standing(self, rank: int, now: float) -> Standing:
        beat = self._beats[rank]
        seconds = now - self._moved[rank]
        if beat is None:
            return Standing(rank, "set-up", 0, seconds)
        return Standing(rank, beat.phase, beat.step, seconds)


@dataclass(frozen=True)
class Stacks:
    """What a rank's file of stacks tells of it."""

    state: str
    """Letter of its state in the kernel: T is stopped, D waits for a disk; empty when nothing was written."""
    has_python: bool
    """Whether Python itself could still tell where its threads stand."""
    waits_for_others: bool
    """Whether its main thread is in a collective, which ends when every rank has come."""


_COLLECTIVE = re.compile(r'/torch/distributed/|/onerec/distributed\.py"')
_MAIN_THREAD = re.compile(r"^(?:Current thread|Thread) .*$", re.MULTILINE)


def parse_stacks(text: str) -> Stacks:
    """What the newest request has added to a rank's file of stacks."""
    newest = text[text.rfind("== ") :] if "== " in text else ""
    state = re.search(r"^State:\s*(\S)", newest, re.MULTILINE)
    threads = _MAIN_THREAD.split(newest)[1:]  # Python lists the main thread last
    return Stacks(
        state=state[1] if state else "",
        has_python=bool(threads),
        waits_for_others=bool(threads) and bool(_COLLECTIVE.search(threads[-1])),
    )


def blame(hang: Hang, stacks: Mapping[int, Stacks]) -> Standing | None:
    """The rank that the others wait for; None where no rank has started.

    In this order: one that is stopped or waits for a disk, one whose Python does not answer, the one with
    fewest steps done, one that waits for no other rank, the earliest phase, the one that stands longest.
    """

    def key(standing: Standing) -> tuple[object, ...]:
        seen = stacks.get(standing.rank, Stacks("", has_python=False, waits_for_others=False))
        return (
            seen.state not in {"T", "t", "D"},
            seen.has_python,
            standing.step,
            seen.waits_for_others,
            PHASES.index(standing.phase),
            -standing.seconds,
        )

    return min(hang.standings, key=key, default=None)


def hang_text(hang: Hang, standing: Standing | None, seen: Stacks | None) -> str:
    """What hangs, in a sentence: `hung in step 13 for 300 s (limit 300 s): its process is stopped`."""
    if standing is None:
        return f"no rank had started after {hang.limit:g} s (cluster.setup_timeout_seconds)"
    where = {
        "set-up": "before its first step was done",
        "data": f"waiting for the data of step {standing.step + 1}",
        "step": f"in step {standing.step + 1}",
        "evaluate": f"in the evaluation after step {standing.step}",
        "save": f"in the save after step {standing.step}",
        "end": f"at its end, after step {standing.step}",
    }[standing.phase]
    text = f"hung {where}: nothing new for {standing.seconds:.0f} s (limit {hang.limit:g} s)"
    states = {"T": "its process is stopped", "t": "a debugger holds it", "D": "it waits for a disk"}
    if seen is not None and seen.state in states:
        text += f"; {states[seen.state]}"
    return text


def standings_text(standings: Sequence[Standing]) -> list[str]:
    """One line for each rank."""
    return [
        f"rank {each.rank}: {each.phase}, {each.step} steps done, {each.seconds:.0f} s ago"
        for each in standings
    ]
