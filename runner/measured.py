"""An evaluation as its document tells it: models, figures with intervals, segments, and its headline. Pure.

Takes whatever form a document has: what is missing or of another kind is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from runner.curves import finite
from runner.printable import printable

HEADLINE_K = 10
NAMES = {"mrr": "MRR", "valid_id_rate": "valid ids", "valid_beam_rate": "valid beams"}
"""What some figures are called; others are called as they are written, such as Recall@10."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval, where one was made."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """Figures of one model, by name."""

    model: str
    is_baseline: bool
    figures: Mapping[str, Estimate]


@dataclass(frozen=True)
class Segment:
    """Figures of all models for a part of the users."""

    by: str
    """What users are told apart by."""
    name: str
    users: int | None
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Measured:
    """One evaluation."""

    rows: tuple[Row, ...]
    """The first one is the model that it is about."""
    k: int = HEADLINE_K
    """Length of the list of the headline."""
    split: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    segments: tuple[Segment, ...] = ()
    report: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all figures, in the order of the document."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.figures))

    @property
    def headline(self) -> tuple[str, str]:
        """The two figures that models are compared by."""
        return f"recall@{self.k}", f"ndcg@{self.k}"


def measured(document: Mapping[str, object]) -> Measured | None:
    """The evaluation that a document tells; None where it has no table."""
    rows = tuple(_rows(document.get("table")))
    if not rows:
        return None
    k, counts, report = document.get("headline_k"), document.get("counts"), document.get("report")
    return Measured(
        rows=rows,
        k=k if isinstance(k, int) and not isinstance(k, bool) else HEADLINE_K,
        split=str(document.get("split") or ""),
        counts={
            str(name): number
            for name, number in (counts.items() if isinstance(counts, dict) else ())
            if isinstance(number, int)
        },
        segments=tuple(_segments(document.get("segments"))),
        report=tuple(map(str, report)) if isinstance(report, list) else (),
    )


def headline_text(found: Measured) -> str:
    """`sft Recall@10 0.1832, NDCG@10 0.1012; best baseline sasrec 0.1791, 0.0993`."""
    recall, ndcg = found.headline
    told = _two(found.rows[0], found.headline, named=True)
    baselines = [row for row in found.rows if row.is_baseline and recall in row.figures]
    if baselines:
        best = max(baselines, key=lambda row: row.figures[recall].value)
        told += f"; best baseline {_two(best, (recall, ndcg), named=False)}"
    return told


def title_of(metric: str) -> str:
    """A figure's name as people write it."""
    name, at, k = metric.partition("@")
    known = {"recall": "Recall", "ndcg": "NDCG", "coverage": "Coverage"}
    return NAMES.get(metric, f"{known.get(name, name)}{at}{k}")


def estimate_of(value: object) -> Estimate | None:
    """A figure as documents write it: {value, low, high}."""
    if not isinstance(value, Mapping):
        return None
    number = finite(value.get("value"))
    return None if number is None else Estimate(number, finite(value.get("low")), finite(value.get("high")))


def _two(row: Row, names: Sequence[str], *, named: bool) -> str:
    parts = [
        f"{title_of(name)} {row.figures[name].value:.4f}" if named else f"{row.figures[name].value:.4f}"
        for name in names
        if name in row.figures
    ]
    return f"{printable(row.model)} {', '.join(parts)}"


def _rows(table: object) -> Iterator[Row]:
    for one in table if isinstance(table, list) else ():
        if isinstance(one, dict) and "model" in one:
            figures = {str(name): found for name, value in one.items() if (found := estimate_of(value))}
            yield Row(str(one["model"]), one.get("is_baseline") is True, figures)


def _segments(table: object) -> Iterator[Segment]:
    """Rows of one segment stand together, in the order in which segments are first told."""
    found: dict[tuple[str, str], list[dict[str, object]]] = {}
    for one in table if isinstance(table, list) else ():
        if isinstance(one, dict):
            found.setdefault((str(one.get("by")), str(one.get("segment"))), []).append(one)
    for (by, name), rows in found.items():
        users = rows[0].get("users")
        yield Segment(by, name, users if isinstance(users, int) else None, tuple(_rows(rows)))
