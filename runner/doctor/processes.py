"""Which processes of a run have outlived their runner, and how they are ended.

Each process that a runner starts has the runner's number in its environment and comes from it; one whose
runner is not among its ancestors was left behind. Nothing is ended here.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from runner.doctor.diagnosis import Check, Finding
from runner.doctor.documents import read_object
from runner.doctor.form import is_identity
from runner.doctor.proc import read_processes
from runner.process import is_alive

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runner.doctor.diagnosis import Standing
    from runner.doctor.proc import Process
    from runner.process import Identity
    from runner.rundir import RunDir

ROLES = ("shim", "trainer")
DYING_SECONDS = 5.0
"""What a trainer started ends when it sees that the trainer is gone; a process that loads torch, later."""
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Recorded:
    """A process that a shim wrote down."""

    place: str
    """The record, relative to the run directory."""
    role: str
    identity: Identity
    has_ended: bool
    """Whether its rank's end is recorded too."""


def read_recorded(run: RunDir, *, folders: Sequence[str]) -> tuple[list[Recorded], list[str]]:
    """Every process that the shims of some steps wrote down, and the places of records that are damaged."""
    found, damaged = [], []
    for home in map(run.step, folders):
        for path in (path for number in home.attempt_numbers() for path in home.process_records(number)):
            document, place = read_object(path), run.inside(str(path))
            identities = [(role, document.values.get(role)) for role in ROLES]
            if not all(is_identity(identity) for _, identity in identities):
                damaged.append(place)
                continue
            has_ended = path.with_name(path.name.replace(".pid.", ".")).exists()
            found += [
                Recorded(place, role, cast("Identity", identity), has_ended) for role, identity in identities
            ]
    return found, damaged


def read_settled(recorded: Sequence[Recorded], standing: Standing) -> dict[int, Process]:
    """The living processes; when some are left behind, those that still live after a grace to die in."""
    deadline = time.monotonic() + DYING_SECONDS
    while True:
        processes = read_processes()
        if not orphans_among(processes, recorded, standing) or time.monotonic() > deadline:
            return processes
        time.sleep(POLL_SECONDS)


def orphans_among(
    processes: Mapping[int, Process], recorded: Sequence[Recorded], standing: Standing
) -> list[Process]:
    """Processes of the run whose runner is gone, in the order of their numbers."""
    ours = _ours(processes, recorded, standing.run)
    return [ours[pid] for pid in sorted(ours) if _is_orphan(ours[pid], processes, standing)]


def check_processes(
    processes: Mapping[int, Process],
    recorded: Sequence[Recorded],
    standing: Standing,
    *,
    damaged: Sequence[str] = (),
) -> Check:
    """Orphans on this host, and attempts on other hosts whose end nobody recorded."""
    orphans = orphans_among(processes, recorded, standing)
    records = {one.identity["pid"]: one for one in _living(recorded)}
    findings = [_finding(one, records.get(one.pid)) for one in orphans]
    findings += _elsewhere(recorded, standing)
    findings += [
        Finding("warning", place, "it cannot be understood: whether its processes live is not known", "")
        for place in damaged
    ]
    detail = f"{len(_ours(processes, recorded, standing.run))} alive"
    if orphans:
        detail += f", {len(orphans)} of them left behind"
    return Check("processes", detail, tuple(findings))


def busy_places(processes: Mapping[int, Process], run: RunDir) -> frozenset[str]:
    """Folders in the run directory whose config.json a living program was started with."""
    words = {word for process in processes.values() for word in process.command if word.startswith("/")}
    orders = (Path(word) for word in words if word.endswith(f"/{run.stage('.').config.name}"))
    return frozenset(run.inside(str(path.parent)) for path in orders if path.is_relative_to(run.path))


def _ours(processes: Mapping[int, Process], recorded: Sequence[Recorded], run: RunDir) -> dict[int, Process]:
    """Processes of the run: by their environment, or by what the shims wrote down."""
    written = {one.identity["pid"] for one in _living(recorded)}
    return {pid: one for pid, one in processes.items() if pid in written or _is_of(one, run)}


def _living(recorded: Sequence[Recorded]) -> list[Recorded]:
    return [one for one in recorded if is_alive(one.identity)]


def _is_of(process: Process, run: RunDir) -> bool:
    told = process.env.get("RUNNER_RUN")
    return told is not None and os.path.realpath(told) == str(run.path)


def _is_orphan(process: Process, processes: Mapping[int, Process], standing: Standing) -> bool:
    """Ranks on hosts that came in over ssh know no runner; they belong to one as long as any is alive."""
    runner = process.env.get("RUNNER_PID", "")
    if not runner.isdecimal():
        return not standing.is_alive
    return int(runner) not in _ancestors(process, processes)


def _ancestors(process: Process, processes: Mapping[int, Process]) -> set[int]:
    found: set[int] = set()
    parent = process.parent
    while parent and parent not in found:
        found.add(parent)
        parent = processes[parent].parent if parent in processes else 0
    return found


def _finding(process: Process, recorded: Recorded | None) -> Finding:
    attempt = process.env.get("RUNNER_ATTEMPT")
    what = f"the {recorded.role} of a rank" if recorded else " ".join(process.command[:4]) or "a process"
    of = f" of attempt {attempt}" if attempt and not recorded else ""
    text = f"process {process.pid} ({what}{of}) works on the run, and the runner that started it is gone"
    by_itself = "the next start ends it, or by hand: " if recorded else ""
    return Finding("error", recorded.place if recorded else ".", text, f"{by_itself}kill -KILL {process.pid}")


def _elsewhere(recorded: Sequence[Recorded], standing: Standing) -> Iterator[Finding]:
    """Only a host itself can tell whether its processes live."""
    here = os.uname().nodename
    if standing.is_alive:
        return
    hosts = {one.identity["host"]: one.place for one in recorded if not one.has_ended}
    for host, place in sorted(hosts.items()):
        if host != here:
            text = (
                f"processes ran on host {host}, and their end is not recorded; from here they cannot be seen"
            )
            yield Finding("info", place, text, f"look there: runner doctor {standing.run.path}")
