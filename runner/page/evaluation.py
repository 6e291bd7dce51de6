"""An evaluation as tables: models by figures, and the parts of the users by models. Pure.

What is best in a column is marked, and every figure that has an interval has it in numbers and drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from runner.measured import Estimate, Measured, Row, Segment, measured, title_of
from runner.page.gather import Record
from runner.page.wording import count


@dataclass(frozen=True)
class Cell:
    """One figure of a table."""

    text: str
    interval: str = ""
    is_best: bool = False
    whisker: tuple[float, float, float] | None = None
    """Low end, value and high end of the interval, in per cent of the column's widest."""


@dataclass(frozen=True)
class TableRow:
    """One line of a table."""

    name: str
    note: str
    """What is said of the name: that it is a baseline, or how many users there are."""
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class EvaluationTable:
    """Names, and a column for each head."""

    title: str
    corner: str
    heads: tuple[str, ...]
    rows: tuple[TableRow, ...]


@dataclass(frozen=True)
class EvaluationView:
    """One evaluation."""

    name: str
    facts: tuple[tuple[str, str], ...]
    models: EvaluationTable
    segments: tuple[EvaluationTable, ...]
    report: tuple[str, ...]


def evaluations(record: Record) -> Iterator[EvaluationView]:
    """Every evaluation of a run that is done."""
    done = {stage["name"] for stage in record.status["stages"] if stage["state"] == "done"}
    for step in record.steps:
        found = measured(step.result) if step.step["kind"] == "evaluate" else None
        if found is not None and step.step["name"] in done:
            yield EvaluationView(
                name=step.step["name"],
                facts=tuple(_facts(found)),
                models=_models(found),
                segments=tuple(_segments(found)),
                report=found.report,
            )


def _facts(found: Measured) -> Iterator[tuple[str, str]]:
    if found.split:
        yield "asked for", f"each user's {found.split} item"
    for name, number in found.counts.items():
        yield name.replace("_", " "), count(number)


def _models(found: Measured) -> EvaluationTable:
    columns = [_column([row.figures.get(name) for row in found.rows]) for name in found.metrics]
    rows = tuple(
        TableRow(row.model, "baseline" if row.is_baseline else "", tuple(cells))
        for row, *cells in zip(found.rows, *columns, strict=True)
    )
    return EvaluationTable("", "model", tuple(map(title_of, found.metrics)), rows)


def _segments(found: Measured) -> Iterator[EvaluationTable]:
    """For each way to part the users and each headline figure, the parts by models."""
    models = tuple(row.model for row in found.rows)
    for by in dict.fromkeys(segment.by for segment in found.segments):
        parts = [segment for segment in found.segments if segment.by == by]
        for metric in found.headline:
            rows = tuple(_segment_row(part, models, metric) for part in parts)
            title = f"{title_of(metric)} by {by}"
            yield EvaluationTable(title, "users", models, rows)


def _segment_row(part: Segment, models: Sequence[str], metric: str) -> TableRow:
    """Within a part of the users the best model is marked: parts differ more than models."""
    known: dict[str, Row] = {row.model: row for row in part.rows}
    figures = [known[model].figures.get(metric) if model in known else None for model in models]
    users = "" if part.users is None else f"{part.users:,} users"
    return TableRow(part.name, users, tuple(_column(figures)))


def _column(figures: Sequence[Estimate | None]) -> Iterable[Cell]:
    """Figures that are compared with each other; a higher one is better."""
    known = [one for one in figures if one is not None]
    best = max((one.value for one in known), default=0.0)
    widest = max((max(one.value, one.high or 0.0) for one in known), default=0.0)
    return [Cell("-") if one is None else _cell(one, best=best, widest=widest) for one in figures]


def _cell(one: Estimate, *, best: float, widest: float) -> Cell:
    if one.low is None or one.high is None:
        return Cell(f"{one.value:.4f}", is_best=one.value == best > 0)
    ends = [round(100 * max(0.0, end) / widest, 1) if widest > 0 else 0.0 for end in _ends(one)]
    return Cell(
        f"{one.value:.4f}",
        interval=f"{one.low:.4f} to {one.high:.4f}",
        is_best=one.value == best > 0,
        whisker=(ends[0], ends[1], ends[2]),
    )


def _ends(one: Estimate) -> tuple[float, float, float]:
    assert one.low is not None, "looked at before"
    assert one.high is not None, "looked at before"
    return one.low, one.value, one.high
