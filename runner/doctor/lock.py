"""Whether the lock of a run is held by a runner, by nobody, or by something that has outlived its runner.

The kernel's list of locks is read; no lock is taken, so that a runner can start meanwhile.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from runner.doctor.diagnosis import Check, Finding
from runner.doctor.documents import read_object
from runner.doctor.form import is_identity
from runner.doctor.proc import holders_of, is_locked
from runner.process import is_alive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.doctor.diagnosis import Standing
    from runner.process import Identity
    from runner.rundir import RunDir


@dataclass(frozen=True)
class LockFacts:
    """The lock file as it was found."""

    is_held: bool
    owner: Identity | None
    """Who says in it to have it; a runner that ends empties the file."""
    holders: tuple[int, ...] = ()
    """Processes that have the file open, where it is held and its owner is gone."""
    is_stop_asked: bool = False
    """Whether the control file is there."""
    is_told: bool = True
    """Whether the file could be read, so that nobody in it is nobody."""

    @property
    def has_living_owner(self) -> bool:
        """Whether a runner has it: one that has just begun is not in the journal yet."""
        return self.is_held and self.owner is not None and is_alive(self.owner)


def read_lock(run: RunDir) -> LockFacts:
    """The lock of a run as it stands."""
    document = read_object(run.lock)
    owner = cast("Identity", document.values) if is_identity(document.values) else None
    is_told = not (document.fault or "").startswith("cannot be read")
    is_stop_asked = os.path.lexists(run.stop_file)  # exists() raises in a folder that is closed to us
    facts = LockFacts(is_locked(run.lock), owner, is_stop_asked=is_stop_asked, is_told=is_told)
    if not facts.is_held or facts.has_living_owner:
        return facts
    return replace(facts, holders=holders_of(run.lock))


def check_lock(facts: LockFacts, standing: Standing) -> Check:
    """A lock that nobody alive should have, and what a dead runner left."""
    detail = "held" if facts.is_held else "free"
    return Check("lock", detail, tuple(_findings(facts, standing)))


def _findings(facts: LockFacts, standing: Standing) -> Iterator[Finding]:
    run = standing.run
    if facts.is_held and facts.is_told and not standing.is_alive:
        pids = " ".join(map(str, facts.holders))
        by = f"process {pids.replace(' ', ', ')}" if pids else "a process that cannot be seen from here"
        text = f"it is held by {by}, and the runner that took it is gone: no runner can start"
        yield Finding("error", run.lock.name, text, f"kill -KILL {pids}" if pids else f"fuser -v {run.lock}")
    elif facts.owner is not None and not facts.is_held and not standing.is_alive:
        text = (
            f"process {facts.owner['pid']} on host {facts.owner['host']} had it and ended without leaving it"
        )
        yield Finding("info", run.lock.name, text, "nothing; the kernel has freed it")
    if facts.is_stop_asked and not standing.is_alive:
        text = "a request to stop, which nothing is there to follow"
        yield Finding("info", run.inside(str(run.stop_file)), text, "nothing; the next start takes it away")
