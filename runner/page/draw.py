"""A chart as lines and labels in a box of fixed size: the geometry of its SVG. Pure.

The page's script draws the same again on a logarithmic scale; both go by the numbers that stand in the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from runner.curves import Point
from runner.page.charts import Chart, Series

WIDTH, HEIGHT = 420.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 50.0, 12.0, 10.0, 36.0
TICKS = 5
MOST_DOTS = 24
"""Points that are also drawn as dots: so few that one wants to see where they are."""


@dataclass(frozen=True)
class Tick:
    """A place on an axis and what stands there."""

    at: float
    label: str


@dataclass(frozen=True)
class Line:
    """One curve: its SVG path, or dots where there are few points."""

    name: str
    path: str
    means: str
    """Path of its means; empty where it has none."""
    dots: tuple[Point, ...]
    is_dashed: bool
    number: int
    """Which colour of the palette."""
    last: str
    lowest: str
    highest: str


@dataclass(frozen=True)
class Drawing:
    """A chart, ready to be written as SVG; `data` is for the script."""

    title: str
    unit: str
    note: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[Tick, ...]
    data: dict[str, object]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM


def draw(chart: Chart) -> Drawing:
    """The geometry of a chart; every series has at least one point."""
    xs = [x for one in chart.series for x, _ in one.points]
    ys = [y for one in chart.series for _, y in one.points]
    x_low, x_high = _room(min(xs), max(xs), margin=0.0)
    y_low, y_high = _room(min(ys), max(ys), margin=0.05)

    def place(point: Point) -> Point:
        x = LEFT + (point[0] - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (point[1] - y_low) / (y_high - y_low) * (HEIGHT - BOTTOM - TOP)
        return round(x, 1), round(y, 1)

    kinds = list(dict.fromkeys(_kind(one) for one in chart.series))
    return Drawing(
        title=chart.title,
        unit=chart.unit,
        note=chart.note,
        lines=tuple(
            _line(
                one,
                kinds.index(_kind(one)),
                placed=[place(point) for point in one.points],
                means=[place(point) for point in one.means],
            )
            for one in chart.series
        ),
        x_ticks=tuple(Tick(place((x, y_low))[0], short(x)) for x in nice_ticks(x_low, x_high) if x >= 0),
        y_ticks=tuple(Tick(place((x_low, y))[1], short(y)) for y in nice_ticks(y_low, y_high)),
        marks=tuple(Tick(place((x, y_low))[0], text) for x, text in chart.marks if x_low <= x <= x_high),
        data=_data(chart),
    )


def nice_ticks(low: float, high: float) -> list[float]:
    """A few round numbers from `low` to `high`."""
    raw = (high - low) / TICKS
    base = 10.0 ** math.floor(math.log10(raw))
    step = base * next(factor for factor in (1, 2, 5, 10) if factor * base >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    ticks = []
    while first * step <= high + step * 1e-9:
        ticks.append(float(f"{first * step:.12g}"))
        first += 1
    return ticks


def short(value: float) -> str:
    """A number in at most about six characters: `1.25`, `12k`, `3e-5`."""
    size = abs(value)
    if size == 0:
        return "0"
    if size < 1e-3 or size >= 1e9:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    for limit, unit in ((1e6, "M"), (1e4, "k")):
        if size >= limit:
            return f"{value / (1e6 if unit == 'M' else 1e3):.4g}{unit}"
    return f"{value:.4g}"


def _room(low: float, high: float, *, margin: float) -> Point:
    """The range with some room around it; one that is a single value is made wider."""
    if high - low <= abs(high) * 1e-12:
        half = abs(high) * 0.1 or 1.0
        return low - half, high + half
    return low - (high - low) * margin, high + (high - low) * margin


def _line(series: Series, number: int, *, placed: list[Point], means: list[Point]) -> Line:
    values = [y for _, y in series.points]
    return Line(
        name=series.name,
        path=_path(placed),
        means=_path(means),
        dots=tuple(placed) if len(placed) <= MOST_DOTS else (),
        is_dashed=series.is_dashed,
        number=number % 8,
        last=short(values[-1]),
        lowest=short(min(values)),
        highest=short(max(values)),
    )


def _kind(series: Series) -> str:
    """What has one colour: the same figure in training and in evaluation."""
    return series.name.removesuffix(", validation")


def _path(points: list[Point]) -> str:
    return "M" + "L".join(f"{x:g},{y:g}" for x, y in points) if points else ""


def _data(chart: Chart) -> dict[str, object]:
    """Points in six digits, flat: what the script needs to draw again and to tell values."""
    return {
        "series": [_digits(one.points) for one in chart.series],
        "means": [_digits(one.means) for one in chart.series],
    }


def _digits(points: Sequence[Point]) -> list[float]:
    return [float(f"{part:.6g}") for point in points for part in point]
