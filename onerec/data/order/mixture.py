"""How often an epoch reads each sample: shares of sources or of datasets, drawn without preference.

Each group is an endless row of passes, every pass its own order of all samples of the group; epochs cut
consecutive pieces off it. So no sample is ever read more than once more often than another of its group.
Pure functions; all sums are exact.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from onerec.config import Mixture
from onerec.data.order.shuffle import CHUNK, shuffled
from onerec.errors import ConfigError

GroupNumbers = npt.NDArray[np.signedinteger]
NAMES_SHOWN = 20


@dataclass(frozen=True)
class Group:
    """The training samples of one source or one dataset."""

    name: str
    samples: int
    tokens: int


def reads_per_epoch(mixture: Mixture | None, groups: Sequence[Group]) -> list[Fraction]:
    """Samples of each group that one epoch reads, repeats counted; parts of a sample add up over epochs.

    Without a mixture each sample is read once. Raises ConfigError for names that are unknown or missing, for
    a weight on a group without samples, and where nothing is read.
    """
    if mixture is None:
        return [Fraction(group.samples) for group in groups]
    if mixture.epochs is not None:
        _check_names("epochs", mixture.epochs, groups, by=mixture.by)
        reads = [Fraction(mixture.epochs.get(group.name, 1.0)) * group.samples for group in groups]
    else:
        reads = _by_weights(mixture, groups)
    if not any(reads):
        raise ConfigError("[mixture]: an epoch would read nothing; give a name that has samples more than 0")
    return reads


def _by_weights(mixture: Mixture, groups: Sequence[Group]) -> list[Fraction]:
    weights = mixture.weights or {}
    _check_names("weights", weights, groups, by=mixture.by)
    missing = [group.name for group in groups if group.name not in weights]
    if missing:
        raise ConfigError(
            f"[mixture] weights: no weight for {_several(missing)}; give every {mixture.by} one, "
            "0 leaves it out"
        )
    empty = [group.name for group in groups if weights[group.name] and not group.samples]
    if empty:
        raise ConfigError(f"[mixture] weights: no training sample in {_several(empty)}; set the weight to 0")
    whole = sum(map(Fraction, weights.values()))
    shares = [Fraction(weights[group.name]) / whole for group in groups]
    if mixture.unit == "samples":
        samples = sum(group.samples for group in groups)
        return [share * samples for share in shares]
    tokens = sum(group.tokens for group in groups)
    return [
        share * tokens * group.samples / group.tokens if share else Fraction(0)
        for share, group in zip(shares, groups, strict=True)
    ]


def _check_names(key: str, given: Mapping[str, float], groups: Sequence[Group], *, by: str) -> None:
    names = [group.name for group in groups]
    for name in given:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            meant = f"did you mean {close[0]!r}? " if close else ""
            raise ConfigError(f"[mixture] {key}: no {by} {name!r}; {meant}there is {_several(names)}")


def _several(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(map(repr, names[:NAMES_SHOWN])) + (f" and {more:,} more" if more > 0 else "")


def draw(
    numbers: GroupNumbers,
    groups: Sequence[Group],
    reads: Sequence[Fraction],
    *,
    key: tuple[str | int, ...],
    epoch: int,
) -> npt.NDArray[np.uint32]:
    """Samples that an epoch reads, in the order of the store, each as often as it is read.

    `numbers` is the place of each sample's group in `groups`, below 0 for samples that are not read at all.
    """
    passes = np.zeros(len(groups) + 1, dtype=np.int64)  # the last is that of number -1
    more = np.zeros(len(numbers), dtype=np.uint8)
    for place, (group, each) in enumerate(zip(groups, reads, strict=True)):
        start, end = epoch_span(each, epoch)
        passes[place], parts = cut(group.samples, start, end)
        chosen = np.zeros(group.samples, dtype=np.uint8)
        for number, first, last in parts:
            chosen[shuffled(group.samples, key=(*key, "pass", group.name, number))[first:last]] += 1
        if parts:
            _scatter(chosen, more, numbers, place)
    return _repeated(numbers, passes, more)


def epoch_span(each: Fraction, epoch: int) -> tuple[int, int]:
    """First and last-plus-one place that an epoch reads of a group's endless row; epochs join exactly."""
    half = Fraction(1, 2)
    return int(each * epoch + half), int(each * (epoch + 1) + half)


def cut(size: int, start: int, end: int) -> tuple[int, list[tuple[int, int, int]]]:
    """Whole passes within a span of places, and (pass, first, last-plus-one) of those it has a part of."""
    whole, parts = 0, []
    for number in range(start // size if size else 0, -(-end // size) if size else 0):
        first, last = max(start - number * size, 0), min(end - number * size, size)
        if (first, last) == (0, size):
            whole += 1
        elif first < last:
            parts.append((number, first, last))
    return whole, parts


def _scatter(
    chosen: npt.NDArray[np.uint8], more: npt.NDArray[np.uint8], numbers: GroupNumbers, place: int
) -> None:
    """Add what was chosen within a group to its samples' places."""
    at = 0
    for start in range(0, len(numbers), CHUNK):
        members = np.flatnonzero(numbers[start : start + CHUNK] == place)
        more[start + members] += chosen[at : at + len(members)]
        at += len(members)


def _repeated(
    numbers: GroupNumbers, passes: npt.NDArray[np.int64], more: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint32]:
    def times(start: int) -> npt.NDArray[np.int64]:
        return passes[numbers[start : start + CHUNK]] + more[start : start + CHUNK]

    starts = range(0, len(numbers), CHUNK)
    drawn = np.empty(sum(int(times(start).sum()) for start in starts), dtype=np.uint32)
    at = 0
    for start in starts:
        each = times(start)
        end = at + int(each.sum())
        drawn[at:end] = np.repeat(np.arange(start, start + len(each), dtype=np.uint32), each)
        at = end
    return drawn
