"""How one attempt at a step ended, judged from what every rank's shim recorded. Pure.

The rank to blame is the one that failed first by itself: not one that was told to stop, and not one that only
saw another one go. Times of different hosts are compared last, for their clocks differ.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from runner.hang import Hang, Stacks, blame, hang_text

STOPPED, HUNG = 75, 8
GIGABYTE = 1e6
"""In the kilobytes that the kernel counts memory in."""

Kind = Literal[
    "config", "drift", "data", "numeric", "hang", "storage", "unsafe", "told", "exit", "exception",
    "out_of_gpu_memory", "out_of_host_memory", "killed", "crash", "lost_worker", "lost_peer", "launcher",
    "unfinished",
]  # fmt: skip
"""What kind of fault ended an attempt."""
KIND_OF_CODE: Mapping[int, Kind] = {
    2: "config",
    4: "drift",
    6: "data",
    7: "numeric",
    HUNG: "hang",
    9: "storage",
    10: "unsafe",
}
"""Exit codes of the trainer that mean the same for the runner; every other failure is 1."""
CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE})
MAY_RETRY: frozenset[Kind] = frozenset(
    {"hang", "exception", "out_of_host_memory", "killed", "crash", "lost_worker", "lost_peer", "launcher"}
)
"""Faults that may be gone the next time. The others a person has to mend first."""


class RankRecord(TypedDict, total=False):
    """rank-00000.json: how one rank ended; the last three are not in records of older versions."""

    rank: int
    host: str
    pid: int
    start_ticks: int
    exit_code: int
    signal: int | None
    t_ns: int
    told_to_stop: bool
    max_rss_kb: int
    fault: str | None
    """What its log ends with (runner.last_words)."""
    exception: str | None
    """First line of the exception, or of the fault it told."""
    oom_kills: int
    """Processes of its memory group that the kernel killed while it ran."""


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
    missing: Sequence[str] = ()
    """Outputs that the step promised and that are not there."""
    hang: Hang | None = None
    """That the ranks no longer moved, for which they were ended."""
    stacks: Mapping[int, Stacks] = field(default_factory=dict)
    """Where each rank stood then."""
    hosts: Mapping[int, str] = field(default_factory=dict)
    """Host of each rank whose shim started."""


@dataclass(frozen=True)
class Outcome:
    """The verdict on one attempt."""

    state: Literal["done", "failed", "interrupted"]
    exit_code: int
    """As the runner's own exit codes say."""
    reason: str | None = None
    blamed: RankRecord | None = None
    blamed_rank: int | None = None
    kind: Kind | None = None
    collateral: tuple[int, ...] = ()
    """Ranks that fell with the blamed one."""
    result: Mapping[str, object] = field(default_factory=dict)

    @property
    def may_retry(self) -> bool:
        """Whether the same command may end otherwise: a fault of the world, not a mistake of a person."""
        return self.state == "failed" and self.kind in MAY_RETRY

    @property
    def words(self) -> str | None:
        """The exception, or the fault that was told."""
        return self.blamed.get("exception") if self.blamed is not None else None


def judge(ended: Ended) -> Outcome:
    """Done only if every rank ended well and the attempt left what it promised."""
    if ended.hang is not None:
        return _stopped() if ended.stop_asked else _blame_hang(ended, ended.hang)
    failing = [record for record in ended.records if record["exit_code"] not in {0, STOPPED}]
    first = min(failing, key=_order, default=None)
    if first is not None and not (first["told_to_stop"] and ended.stop_asked):
        fell = first["told_to_stop"] or kind_of(first) == "lost_peer"
        gone = _blame_gone(ended) if fell else None
        if gone is None and first["told_to_stop"]:
            return _blame_launcher(ended)
        return gone or _blame(first, failing)
    if failing or any(record["exit_code"] == STOPPED for record in ended.records):
        return _stopped()
    return _without_failing_rank(ended)


def kind_of(record: RankRecord) -> Kind:
    """What kind of fault ended a rank that failed."""
    code, killed_by = record["exit_code"], record["signal"]
    starved = record.get("oom_kills", 0) > 0
    if killed_by is None and code > 128:
        killed_by = code - 128
    if killed_by is not None:
        if killed_by in CRASHES:
            return "crash"
        return "out_of_host_memory" if starved and killed_by == signal.SIGKILL else "killed"
    if code in KIND_OF_CODE:
        return KIND_OF_CODE[code]
    if code != 1:
        return "exit"
    fault = record.get("fault")
    if fault == "lost_worker" and starved:
        return "out_of_host_memory"
    kinds: dict[str | None, Kind] = {
        "told": "told",
        "out_of_gpu_memory": "out_of_gpu_memory",
        "lost_worker": "lost_worker",
        "lost_peer": "lost_peer",
    }
    return kinds.get(fault, "exception")


def _order(record: RankRecord) -> tuple[bool, bool, int]:
    return (record["told_to_stop"], kind_of(record) == "lost_peer", record["t_ns"])


def _without_failing_rank(ended: Ended) -> Outcome:
    gone = _blame_gone(ended)
    if gone is not None:
        return _stopped() if ended.stop_asked else gone
    if not ended.records or (ended.expected is not None and len(ended.records) < ended.expected):
        codes = ", ".join(str(code) for code in ended.launcher_codes)
        wanted = "" if ended.expected is None else f" of {ended.expected}"
        reason = f"only {len(ended.records)}{wanted} ranks were started; the launcher ended with {codes}"
        return _stopped() if ended.stop_asked else Outcome("failed", 1, reason, kind="launcher")
    lacks = _unfinished(ended)
    if lacks is not None:
        return Outcome("failed", 1, f"every rank ended with 0, but {lacks}", kind="unfinished")
    return Outcome("done", 0, result=ended.result or {})


def _unfinished(ended: Ended) -> str | None:
    """What a step lacks whose ranks all ended with 0."""
    if ended.result is None:
        return "the step left no result.json: it did not reach its end"
    step, total = ended.result.get("step"), ended.result.get("total_steps")
    if isinstance(step, int) and isinstance(total, int) and step < total:
        return f"its last step was {step} of {total}: it did not reach its end"
    if ended.missing:
        return f"it left no {ended.missing[0]}"
    return None


def _stopped() -> Outcome:
    return Outcome("interrupted", STOPPED, "stopped on request")


def _blame_gone(ended: Ended) -> Outcome | None:
    """Ranks that started and left no record were killed with their shim: by hand, or with a launcher."""
    recorded = {record["rank"] for record in ended.records}
    gone = [rank for rank in ended.started if rank not in recorded]
    killed_by = [-code for code in ended.launcher_codes if code < 0]
    if killed_by and len(gone) == len(ended.started) > 0:
        reason = f"the launcher was killed by {signal_name(killed_by[0])}, and its ranks ended with it"
        return Outcome("failed", 1, reason, kind="launcher")
    if not gone:
        return None
    reason = f"rank {gone[0]} was killed together with its watcher (out of memory, or by hand)"
    others = tuple(sorted({*recorded, *gone} - {gone[0]}))
    return Outcome("failed", 1, reason, blamed_rank=gone[0], kind="killed", collateral=others)


def _blame_launcher(ended: Ended) -> Outcome:
    """No rank failed by itself and nobody asked to stop: a launcher gave up, as one whose host is lost."""
    codes = ", ".join(str(code) for code in ended.launcher_codes)
    reason = f"no rank failed by itself; the launcher ended with {codes}, as when a host is lost"
    return Outcome("failed", 1, reason, kind="launcher")


def _blame_hang(ended: Ended, hang: Hang) -> Outcome:
    standing = blame(hang, ended.stacks)
    if standing is None:
        return Outcome("failed", HUNG, hang_text(hang, None, None), kind="hang")
    rank = standing.rank
    text = hang_text(hang, standing, ended.stacks.get(rank))
    reason = f"rank {rank} on {ended.hosts.get(rank, 'an unknown host')} {text}"
    others = tuple(each.rank for each in hang.standings if each.rank != rank)
    return Outcome("failed", HUNG, reason, blamed_rank=rank, kind="hang", collateral=others)


def _blame(record: RankRecord, failing: Sequence[RankRecord]) -> Outcome:
    kind = kind_of(record)
    code = record["exit_code"] if kind in KIND_OF_CODE.values() else 1
    reason = f"rank {record['rank']} on {record['host']} {_ending(record, kind)}"
    others = tuple(sorted(other["rank"] for other in failing if other["rank"] != record["rank"]))
    return Outcome("failed", code, reason, record, record["rank"], kind, others)


def _ending(record: RankRecord, kind: Kind) -> str:
    """How a rank ended: `exited 1: ValueError: no`, `was killed by SIGKILL`."""
    words = record.get("exception")
    if kind == "out_of_host_memory":
        peak = record["max_rss_kb"] / GIGABYTE
        return (
            f"ran out of the host's memory, and the kernel killed {_victim(record)} (peak {peak:.1f} GB); "
            "give the job more memory, or lower num_workers or nproc_per_node"
        )
    if record["signal"]:
        text = f"was killed by {signal_name(record['signal'])}"
    else:
        text = f"exited {record['exit_code']}"
    if kind == "out_of_gpu_memory":
        text += (
            " for want of GPU memory; lower max_length, or raise the recomputation (runner plan estimates)"
        )
    return f"{text}: {words}" if words else text


def _victim(record: RankRecord) -> str:
    return "it" if record["signal"] else "one of its data workers"


def signal_name(number: int | None) -> str:
    """SIGKILL for 9."""
    try:
        return signal.Signals(number or 0).name
    except ValueError:
        return f"signal {number}"
