"""How one attempt at a step ended, judged from what every rank's shim recorded. Pure.

The rank to blame is the one that failed first without having been told to stop: the others fell with it.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict

STOPPED = 75
TOLD_EXIT_CODES = frozenset({2, 4, 6, 7, 8, 9, 10})
"""Exit codes of the trainer that mean the same for the runner; every other failure is 1."""


class RankRecord(TypedDict):
    """rank-00000.json: how one rank ended."""

    rank: int
    host: str
    pid: int
    start_ticks: int
    exit_code: int
    signal: int | None
    t_ns: int
    told_to_stop: bool
    max_rss_kb: int


@dataclass(frozen=True)
class Ended:
    """What is known after all launchers of an attempt are gone."""

    records: Sequence[RankRecord]
    started: Sequence[int]
    """Ranks whose shim started."""
    expected: int | None
    """Ranks that should have; None: the launcher's own choice."""
    launcher_codes: Sequence[int]
    result: Mapping[str, object] | None
    """The attempt's result.json."""
    stop_asked: bool


@dataclass(frozen=True)
class Outcome:
    """The verdict on one attempt."""

    state: Literal["done", "failed", "interrupted"]
    exit_code: int
    """As the runner's own exit codes say."""
    reason: str | None = None
    blamed: RankRecord | None = None
    blamed_rank: int | None = None
    result: Mapping[str, object] = field(default_factory=dict)

    @property
    def may_retry(self) -> bool:
        """Whether the same command may end otherwise: a crash, not a mistake of a person."""
        blamed = self.blamed
        return self.state == "failed" and blamed is not None and (_crashed(blamed) or self.exit_code == 8)


def judge(ended: Ended) -> Outcome:
    """Done only if every rank ended well and the attempt left its result."""
    failing = [record for record in ended.records if record["exit_code"] not in {0, STOPPED}]
    first = min(failing, key=lambda record: (record["told_to_stop"], record["t_ns"]), default=None)
    if first is not None and not (first["told_to_stop"] and ended.stop_asked):
        vanished = _vanished(ended)
        return _blame_vanished(vanished) if first["told_to_stop"] and vanished else _blame(first)
    if failing or any(record["exit_code"] == STOPPED for record in ended.records):
        return Outcome("interrupted", STOPPED, "stopped on request")
    return _without_failing_rank(ended)


def _without_failing_rank(ended: Ended) -> Outcome:
    vanished = _vanished(ended)
    if vanished and ended.stop_asked:
        return Outcome("interrupted", STOPPED, "stopped on request")
    if vanished:
        return _blame_vanished(vanished)
    if not ended.records or (ended.expected is not None and len(ended.records) < ended.expected):
        codes = ", ".join(str(code) for code in ended.launcher_codes)
        wanted = "" if ended.expected is None else f" of {ended.expected}"
        reason = f"only {len(ended.records)}{wanted} ranks were started; the launcher ended with {codes}"
        return Outcome("interrupted", STOPPED, "stopped on request") if ended.stop_asked else _failed(reason)
    if ended.result is None:
        return _failed("every rank ended with 0, but the step left no result.json: it did not reach its end")
    return Outcome("done", 0, result=ended.result)


def _vanished(ended: Ended) -> list[int]:
    """Ranks that started and left no record: killed together with their shim."""
    recorded = {record["rank"] for record in ended.records}
    return [rank for rank in ended.started if rank not in recorded]


def _failed(reason: str) -> Outcome:
    return Outcome("failed", 1, reason)


def _blame_vanished(ranks: Sequence[int]) -> Outcome:
    reason = f"rank {ranks[0]} was killed together with its watcher (out of memory, or by hand)"
    return Outcome("failed", 1, reason, blamed_rank=ranks[0])


def _blame(record: RankRecord) -> Outcome:
    code = record["exit_code"] if record["exit_code"] in TOLD_EXIT_CODES and not record["signal"] else 1
    ended = (
        f"was killed by {signal_name(record['signal'])}"
        if record["signal"]
        else f"exited {record['exit_code']}"
    )
    reason = f"rank {record['rank']} on {record['host']} {ended}"
    return Outcome("failed", code, reason, blamed=record, blamed_rank=record["rank"])


def _crashed(record: RankRecord) -> bool:
    return record["signal"] is not None or record["exit_code"] == 1 or record["exit_code"] > 128


def signal_name(number: int | None) -> str:
    """SIGKILL for 9."""
    try:
        return signal.Signals(number or 0).name
    except ValueError:
        return f"signal {number}"
