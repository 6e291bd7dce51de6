"""What decides the tokens of a sample, and the account of what became of every row of a file.

Plain values that go to JSON and come back; files are written elsewhere.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Options:
    """What of a dataset's configuration decides the tokens of a sample."""

    only_assistant_loss: bool
    add_think_pattern: bool
    overlong: str
    max_sample_length: int
    itemic_ids: tuple[int, int]
    """First and last itemic id."""

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Options:
        """The options of a JSON document that holds their fields."""
        first, last = document["itemic_ids"]
        return cls(**{**document, "itemic_ids": (first, last)})

    def drops(self, *, is_chat: bool) -> bool:
        """Whether a row that is too long is left out; otherwise it is split, or an error."""
        return self.overlong == "drop" or (self.overlong == "split" and is_chat)


@dataclass
class SourceReport:
    """Counts of one source; all but `rejects` are of what was stored, `overlong_*` are rows."""

    samples: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    itemic_tokens: int = 0
    overlong_dropped: int = 0
    overlong_split: int = 0
    rejects: Counter[str] = field(default_factory=Counter)
    """Rejected rows by reason."""

    def add(self, other: SourceReport) -> None:
        """Add another report's counts to this one's."""
        for item in dataclasses.fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))

    def to_json(self) -> dict[str, Any]:
        """The counts as JSON values."""
        return {**vars(self), "rejects": dict(self.rejects)}


@dataclass
class FileReport:
    """What became of the rows of one or more files."""

    rows: int = 0
    sources: dict[str, SourceReport] = field(default_factory=dict)
    """By source, in the order of their first rows; rows without a usable source count under an empty name."""

    def of(self, source: str) -> SourceReport:
        """Counts of one source, which begin at nothing."""
        return self.sources.setdefault(source, SourceReport())

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values; the order of the sources is kept."""
        sources = [[name, counts.to_json()] for name, counts in self.sources.items()]
        return {"rows": self.rows, "sources": sources}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> FileReport:
        """The report that `to_json` wrote."""
        sources = {
            name: SourceReport(**{**counts, "rejects": Counter(counts["rejects"])})
            for name, counts in document["sources"]
        }
        return cls(rows=document["rows"], sources=sources)

    def total(self) -> SourceReport:
        """Counts over all sources."""
        total = SourceReport()
        for counts in self.sources.values():
            total.add(counts)
        return total


def merged(reports: Iterable[FileReport]) -> FileReport:
    """The account of many files, sources sorted by name."""
    whole = FileReport()
    for report in reports:
        whole.rows += report.rows
        for name, counts in report.sources.items():
            whole.of(name).add(counts)
    whole.sources = dict(sorted(whole.sources.items()))
    return whole
