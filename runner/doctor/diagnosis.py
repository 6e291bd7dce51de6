"""What was found out about a run directory, as values, and their fixed form as JSON.

The form is {"schema_version", "run", "healthy", "checks": [{"name", "ok", "detail"}],
"findings": [{"level", "place", "text", "remedy"}]}.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from runner.history import History
    from runner.rundir import RunDir

SCHEMA_VERSION = 1
Level = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Finding:
    """An error is damage or a broken promise; a warning asks for a person; an info is no fault."""

    level: Level
    place: str
    """Path relative to the run directory."""
    text: str
    remedy: str
    """What to do, with the exact command where there is one; empty when nothing is to be done."""


@dataclass(frozen=True)
class Check:
    """One kind of things that were looked at, and what was found."""

    name: str
    detail: str
    """What was looked at, in a few words."""
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is broken; warnings are allowed."""
        return all(finding.level != "error" for finding in self.findings)


class CheckDocument(TypedDict):
    """A check as JSON."""

    name: str
    ok: bool
    detail: str


class FindingDocument(TypedDict):
    """A finding as JSON."""

    level: Level
    place: str
    text: str
    remedy: str


class DiagnosisDocument(TypedDict):
    """A diagnosis as JSON."""

    schema_version: int
    run: str
    healthy: bool
    checks: list[CheckDocument]
    findings: list[FindingDocument]


@dataclass(frozen=True)
class Diagnosis:
    """All checks of one run."""

    run: str
    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Whether no check found an error."""
        return all(check.ok for check in self.checks)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that was found, in the order of the checks."""
        return tuple(finding for check in self.checks for finding in check.findings)

    def document(self) -> DiagnosisDocument:
        """The fixed form."""
        return {
            "schema_version": SCHEMA_VERSION,
            "run": self.run,
            "healthy": self.healthy,
            "checks": [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in self.checks],
            "findings": [
                {
                    "level": finding.level,
                    "place": finding.place,
                    "text": finding.text,
                    "remedy": finding.remedy,
                }
                for finding in self.findings
            ],
        }


@dataclass(frozen=True)
class Standing:
    """How a run stands: its journal as far as that can be read, and whether a runner works on it now."""

    run: RunDir
    history: History
    is_alive: bool
    is_told: bool = True
    """Whether the whole journal could be read, so that what it does not hold did not happen."""

    @property
    def resume(self) -> str:
        """The command that goes on with the run."""
        return shlex.join(["runner", "resume", str(self.run.path)])

    def remove(self, place: str) -> str:
        """The command that removes a file or folder of the run."""
        return shlex.join(["rm", "-r", self.path_of(place)])

    def path_of(self, place: str) -> str:
        """The whole path of a place in the run directory."""
        return str(self.run.step(place).path)
