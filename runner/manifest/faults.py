"""What is wrong with a manifest, where, and what to do about it; and how that is shown to a person.

A problem knows the path of keys it is about; a fault knows the file, line and column as well.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from onerec.errors import ConfigError
from runner.manifest.positions import KeyPath, Position
from runner.printable import printable as printable  # noqa: PLC0414 - found here too
from runner.redact import masked, redacted

Code = Literal[
    "unreadable",
    "encoding",
    "syntax",
    "missing-key",
    "unknown-key",
    "wrong-type",
    "out-of-range",
    "unknown-value",
    "broken-rule",
    "override",
]
"""What kind of mistake it is, for programs."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong at `path`; `place` is the table it is told of, by default the path itself."""

    path: KeyPath
    message: str
    remedy: str = ""
    place: KeyPath | None = None
    code: Code = "broken-rule"


@dataclass(frozen=True)
class Fault:
    """A problem at its place in a file; line and column count from 1 and are None where there are none."""

    file: str
    line: int | None
    column: int | None
    place: str
    message: str
    remedy: str
    source_line: str = ""
    code: Code = "broken-rule"

    def document(self) -> dict[str, str | int | None]:
        """The fault for programs."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "path": self.place,
            "code": self.code,
            "message": self.message,
            "remedy": self.remedy,
        }

    def __str__(self) -> str:
        """`file:line:column: place: message; remedy`, the source line, and a caret under the key."""
        spot = self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"
        text = ": ".join(part for part in (spot, self.place, self.message) if part)
        text += f"; {self.remedy}" if self.remedy else ""
        if not self.source_line or self.column is None:
            return text
        before = self.source_line[: self.column - 1]
        indent = "".join("\t" if mark == "\t" else " " for mark in printable(before, keep="\t"))
        return f"{text}\n    {printable(self.source_line, keep=chr(9))}\n    {indent}^"


class ManifestError(ConfigError, ValueError):
    """The manifest does not fit; `faults` are all of them, in the order of their lines."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


@dataclass(frozen=True)
class Source:
    """Where the values of a document were written: a file, and the overrides laid over it."""

    file: str
    lines: Sequence[str]
    positions: Mapping[KeyPath, Position]
    overrides: Mapping[KeyPath, str]
    """Override as given, by the path it sets."""

    def faults_of(self, problems: Iterable[Problem]) -> tuple[Fault, ...]:
        """Each problem at its place, sorted by line, overrides last; the first problem of a path stays."""
        first: dict[KeyPath, Problem] = {}
        for problem in problems:
            first.setdefault(problem.path, problem)
        faults = [self._fault_of(problem) for problem in first.values()]
        return tuple(sorted(faults, key=lambda fault: (fault.line or 10**9, fault.column or 0)))

    def _fault_of(self, problem: Problem) -> Fault:
        problem = replace(problem, message=redacted(problem.message))
        place = dotted(problem.path if problem.place is None else problem.place)
        for length in range(len(problem.path), 0, -1):
            path = problem.path[:length]
            if path in self.overrides:
                file = f"--set {printable(redacted(self.overrides[path]))}"
                return Fault(file, None, None, place, problem.message, problem.remedy, code=problem.code)
            if path in self.positions:
                at = self.positions[path]
                source_line = masked(self.lines[at.line - 1])
                spot = (self.file, at.line, at.column)
                return Fault(*spot, place, problem.message, problem.remedy, source_line, problem.code)
        return Fault(self.file, None, None, place, problem.message, problem.remedy, code=problem.code)


def dotted(path: KeyPath) -> str:
    """A path as a person writes it: `stages.base.corpus[0].name`, keys quoted where TOML wants it."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = part.isascii() and part.replace("_", "").replace("-", "").isalnum()
            text += ("." if text else "") + (part if bare else shown(part))
    return text


def shown(value: object, limit: int = 80) -> str:
    """A value as TOML writes it, cut to `limit` characters, control characters escaped."""
    text = printable(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= limit else text[: limit - 3] + "..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'learning_rate'?` for the known word nearest to `word`; empty when none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else ""


def listed(words: Iterable[str]) -> str:
    """`'a', 'b' and 'c'`; `none` for no word."""
    quoted = [repr(word) for word in words]
    if len(quoted) < 2:
        return quoted[0] if quoted else "none"
    return ", ".join(quoted[:-1]) + " and " + quoted[-1]
