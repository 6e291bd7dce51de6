"""The rows of a training stage as charts: what is drawn together, in which unit, thinned to what can be seen.

Reads nothing. Rows whose figure is no finite number are left out, and told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from runner.curves import Point, Row, finite, thin
from runner.story import Attempt

MOST_SOURCES = 8
MOST_POINTS, FEWEST_POINTS = 400, 60
MEANS = 100
POINTS_OF_PAGE = 40_000
"""Points of all curves together: about a megabyte of the page."""
NATS = "nats per token"
_WITH_BEST = frozenset({"Loss", "Hit rate"})
FIGURES = (
    "loss",
    "itemic_loss",
    "text_loss",
    "learning_rate",
    "grad_norm",
    "tokens_per_second",
    "trained_tokens_per_second",
    "mfu",
    "data_wait",
    "memory_gib",
    "total_tokens",
    "time",
    "hit_rate",
    "ndcg",
    "valid_id_rate",
    "k",
)
"""What the page needs of a row."""


@dataclass(frozen=True)
class Series:
    """One curve."""

    name: str
    points: tuple[Point, ...]
    is_dashed: bool = False
    """Of rows that are never trained on."""
    means: tuple[Point, ...] = ()
    """Means of neighbours, where there are so many points that a curve alone would be a cloud."""


@dataclass(frozen=True)
class Chart:
    """Curves over steps that are drawn together."""

    title: str
    unit: str
    series: tuple[Series, ...]
    note: str = ""
    marks: tuple[tuple[float, str], ...] = ()
    """Steps at which an attempt began, or the best checkpoint was saved, and what to say of it."""


@dataclass
class Columns:
    """Figures of rows by name, each with its steps; filled row by row."""

    figures: dict[str, list[Point]] = field(default_factory=dict)
    sources: dict[str, list[Point]] = field(default_factory=dict)
    """Loss by source."""
    odd: list[int] = field(default_factory=list)
    """Steps whose loss is no finite number."""

    def add(self, row: Row) -> None:
        """Take in one row; one without a step is left out."""
        step = finite(row.get("step"))
        if step is None:
            return
        for key in FIGURES:
            number = finite(row.get(key))
            if number is not None:
                self.figures.setdefault(key, []).append((step, number))
        losses = row.get("source_loss")
        for source, value in losses.items() if isinstance(losses, Mapping) else ():
            number = finite(value)
            if number is not None:
                self.sources.setdefault(str(source), []).append((step, number))
        if isinstance(row.get("loss"), float) and finite(row["loss"]) is None:
            self.odd.append(int(step))


def columns_of(rows: Iterable[Row]) -> Columns:
    """All rows, column by column."""
    columns = Columns()
    for row in rows:
        columns.add(row)
    return columns


def charts_of(
    training: Columns,
    validation: Columns,
    *,
    hit_rates: Columns | None = None,
    best_step: int | None = None,
    attempts: Iterable[Attempt] = (),
) -> list[Chart]:
    """The charts of a stage that have anything to show; `best_step` has the best hit rate."""
    t, v = training.figures, validation.figures
    charts = [
        _chart("Loss", NATS, _one("training", t, "loss"), _one("validation", v, "loss", is_dashed=True)),
        _hit_rates(hit_rates or Columns()),
        _chart(
            "Itemic and text loss",
            NATS,
            _one("itemic", t, "itemic_loss"),
            _one("text", t, "text_loss"),
            _one("itemic, validation", v, "itemic_loss", is_dashed=True),
            _one("text, validation", v, "text_loss", is_dashed=True),
        ),
        _by_source("Loss by source", training),
        _by_source("Validation loss by source", validation),
        _chart("Learning rate", "per step", _one("learning rate", t, "learning_rate")),
        _chart("Gradient norm", "before clipping", _one("gradient norm", t, "grad_norm")),
        _chart(
            "Throughput",
            "tokens/s",
            _one("all tokens", t, "tokens_per_second"),
            _one("trained tokens", t, "trained_tokens_per_second"),
        ),
        _chart("Model FLOP utilisation", "% of peak", _one("MFU", t, "mfu", scale=100)),
        _chart("Waiting for data", "% of the time", _one("data wait", t, "data_wait", scale=100)),
        _chart("Memory of rank 0", "GiB", _one("peak", t, "memory_gib")),
    ]
    note = _note(training)
    marks = _marks(training, attempts)
    best = () if best_step is None else ((float(best_step), "best"),)
    return [
        Chart(
            chart.title,
            chart.unit,
            chart.series,
            note if chart.title == "Loss" else chart.note,
            (*marks, *best) if chart.title in _WITH_BEST else marks,
        )
        for chart in charts
        if chart.series
    ]


def _hit_rates(columns: Columns) -> Chart:
    """How often the answer was in the list; of a list of which length the rows tell."""
    figures = columns.figures
    k = f" at {figures['k'][-1][1]:.0f}" if "k" in figures else ""
    return _chart(
        "Hit rate",
        f"share of questions{k}",
        _one("hit rate", figures, "hit_rate", is_dashed=True),
        _one("NDCG", figures, "ndcg", is_dashed=True),
        _one("valid ids, said freely", figures, "valid_id_rate", is_dashed=True),
    )


def thinned(charts: Iterable[Chart], *, limit: int) -> list[Chart]:
    """The same charts with at most `limit` points a curve."""
    return [
        Chart(
            chart.title,
            chart.unit,
            tuple(
                Series(one.name, tuple(thin(one.points, limit=limit)), one.is_dashed, _means(one.points))
                for one in chart.series
            ),
            chart.note,
            chart.marks,
        )
        for chart in charts
    ]


def _means(points: Sequence[Point]) -> tuple[Point, ...]:
    if len(points) <= MEANS:
        return ()
    bounds = [len(points) * number // MEANS for number in range(MEANS + 1)]
    parts = [points[low:high] for low, high in pairwise(bounds)]
    return tuple((sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts)


def points_per_curve(curves: int) -> int:
    """How many points each of so many curves may have."""
    return max(FEWEST_POINTS, min(MOST_POINTS, POINTS_OF_PAGE // max(1, curves)))


def _chart(title: str, unit: str, *series: Series) -> Chart:
    return Chart(title, unit, tuple(one for one in series if one.points))


def _one(
    name: str, figures: Mapping[str, list[Point]], key: str, *, scale: float = 1, is_dashed: bool = False
) -> Series:
    points = figures.get(key, [])
    return Series(name, tuple((step, value * scale) for step, value in points), is_dashed)


def _by_source(title: str, columns: Columns) -> Chart:
    """The sources that are told of most often; the page says how many others there are."""
    sources = sorted(columns.sources.items(), key=lambda item: (-len(item[1]), item[0]))
    left_out = len(sources) - MOST_SOURCES
    note = f"{left_out} more sources are in metrics.jsonl and TensorBoard" if left_out > 0 else ""
    series = tuple(Series(name, tuple(points)) for name, points in sources[:MOST_SOURCES])
    return Chart(title, NATS, series, note)


def _note(columns: Columns) -> str:
    if not columns.odd:
        return ""
    steps = ", ".join(map(str, columns.odd[:5])) + (", ..." if len(columns.odd) > 5 else "")
    return f"not finite, and not drawn, at step {steps}"


def _marks(columns: Columns, attempts: Iterable[Attempt]) -> tuple[tuple[float, str], ...]:
    """The first step each attempt has told of; the newest where several are at one; none at the start."""
    times = columns.figures.get("time", [])
    marks: dict[float, str] = {}
    for attempt in attempts:
        first = next((step for step, time in times if time >= attempt.began), None)
        if first is not None and first != times[0][0]:
            marks[first] = f"attempt {attempt.number}"
    return tuple(marks.items())
