"""A check of the model test: what it is called, what it needs, how it came out, and how long it took.

Nothing here knows what is checked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from onerec.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from onerec.model_test.subject import Subject

Status = Literal["ok", "failed", "note", "skipped"]
"""note: nothing is wrong, but a person should know; skipped: it could not be tried, the detail says why."""
SHOWN_FAULTS = 4
"""Faults of one check that its detail spells out."""


@dataclass(frozen=True)
class Finding:
    """How one check came out; `record` holds figures for programs."""

    status: Status
    detail: str
    record: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Trial:
    """One check to make; it is skipped unless all that it `needs`, earlier checks by name, came out well."""

    group: str
    name: str
    look: Callable[[Subject], Finding]
    """ConfigError and StorageError, for what it cannot read, make the check fail."""
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One check that was made, or skipped."""

    name: str
    group: str
    status: Status
    detail: str
    seconds: float
    record: Mapping[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against the folder."""
        return self.status != "failed"


def make(trial: Trial, subject: Subject, *, earlier: Mapping[str, Check]) -> Check:
    """Make one check, unless an `earlier` one that it needs failed or was skipped itself."""
    began = time.perf_counter()
    finding = _obstacle(trial, earlier) or _found(trial, subject)
    seconds = time.perf_counter() - began
    return Check(trial.name, trial.group, finding.status, finding.detail, seconds, finding.record)


def verdict(faults: Sequence[str], otherwise: str, *, status: Status = "failed") -> Finding:
    """`status` with the faults spelled out, the first few of many; ok with `otherwise` when there is none."""
    if not faults:
        return Finding("ok", otherwise)
    more = len(faults) - SHOWN_FAULTS
    return Finding(status, "; ".join(faults[:SHOWN_FAULTS]) + (f"; and {more:,} more" if more > 0 else ""))


def _found(trial: Trial, subject: Subject) -> Finding:
    try:
        return trial.look(subject)
    except (ConfigError, StorageError) as fault:
        return Finding("failed", str(fault))


def _obstacle(trial: Trial, earlier: Mapping[str, Check]) -> Finding | None:
    for need in trial.needs:
        check = earlier[need]
        if check.status == "failed":
            return Finding("skipped", f"{need!r} failed")
        if check.status == "skipped":
            return Finding("skipped", check.detail)
    return None
