from __future__ import annotations

import math

import pytest

from runner.page.charts import Chart, Columns, Series, charts_of, columns_of, points_per_curve, thinned
from runner.page.draw import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, draw, nice_ticks, short
from runner.story import Attempt


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (3.2, 4.1, [3.2, 3.4, 3.6, 3.8, 4.0]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (1e-5, 1.02e-3, [0.0005, 0.001]),
        (10, 100_000, [20_000, 40_000, 60_000, 80_000, 100_000]),
    ],
)
def test_ticks_are_round_and_inside(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high) == ticks


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (3.14159, "3.142"),
        (-2, "-2"),
        (9999, "9999"),
        (16213, "16.21k"),
        (2_500_000, "2.5M"),
        (0.0003, "3e-4"),
        (1.234e12, "1.23e12"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_a_curve_goes_from_edge_to_edge_and_higher_values_are_higher() -> None:
    drawing = draw(Chart("Loss", "nats", (Series("training", ((0.0, 1.0), (50.0, 3.0), (100.0, 2.0))),)))
    (line,) = drawing.lines
    xs, ys = zip(*line.dots, strict=True)
    assert (xs[0], xs[-1]) == (LEFT, WIDTH - RIGHT)
    assert TOP < ys[1] < ys[2] < ys[0] < HEIGHT - BOTTOM
    assert line.path == "M" + "L".join(f"{x:g},{y:g}" for x, y in line.dots)
    assert (line.last, line.lowest, line.highest, line.means) == ("2", "1", "3", "")
    assert [tick.label for tick in drawing.x_ticks] == ["0", "20", "40", "60", "80", "100"]
    assert drawing.data == {"series": [[0.0, 1.0, 50.0, 3.0, 100.0, 2.0]], "means": [[]]}


@pytest.mark.parametrize("value", [0.0, 5.0, -5.0, 1e-30])
def test_a_single_point_and_a_constant_can_be_drawn(value: float) -> None:
    for points in (((1.0, value),), ((1.0, value), (2.0, value))):
        (line,) = draw(Chart("x", "y", (Series("z", points),))).lines
        assert all(math.isfinite(part) for dot in line.dots for part in dot)


def columns(*rows: dict[str, object]) -> Columns:
    return columns_of(rows)


def test_charts_are_of_what_rows_tell_and_nothing_else() -> None:
    training = columns(
        {"step": 10, "loss": 2.0, "mfu": 0.4, "source_loss": {"chat": 2.5}, "time": 100.0},
        {"step": 20, "loss": math.nan, "mfu": None, "source_loss": {"chat": "x"}, "time": 200.0},
        {"loss": 3.0},
        {"step": 30, "loss": 1.0, "time": 300.0},
    )
    validation = columns({"step": 30, "loss": 1.5})
    attempts = [
        Attempt(step="a", number=number, start=0, began=began) for number, began in ((1, 50.0), (2, 150.0))
    ]
    marks = ((20.0, "attempt 2"),)
    assert charts_of(training, validation, attempts=attempts) == [
        Chart(
            "Loss",
            "nats per token",
            (
                Series("training", ((10.0, 2.0), (30.0, 1.0))),
                Series("validation", ((30.0, 1.5),), is_dashed=True),
            ),
            "not finite, and not drawn, at step 20",
            marks,
        ),
        Chart("Loss by source", "nats per token", (Series("chat", ((10.0, 2.5),)),), "", marks),
        Chart("Model FLOP utilisation", "% of peak", (Series("MFU", ((10.0, 40.0),)),), "", marks),
    ]
    assert charts_of(Columns(), Columns()) == []


def test_many_sources_are_cut_to_those_told_of_most() -> None:
    losses = {f"source {number:02d}": 1.0 for number in range(20)}
    rows = [{"step": 1, "source_loss": losses}, {"step": 2, "source_loss": {"source 19": 1.0}}]
    (chart,) = charts_of(columns(*rows), Columns())
    assert [one.name for one in chart.series] == [
        "source 19",
        *(f"source {number:02d}" for number in range(7)),
    ]
    assert chart.note == "12 more sources are in metrics.jsonl and TensorBoard"


def test_long_curves_are_thinned_and_get_means() -> None:
    points = tuple((float(step), 1.0 if step != 777 else 99.0) for step in range(10_000))
    (chart,) = thinned([Chart("Loss", "nats", (Series("training", points),))], limit=200)
    (series,) = chart.series
    assert len(series.points) <= 200
    assert (777.0, 99.0) in series.points
    assert len(series.means) == 100
    assert max(value for _, value in series.means) == pytest.approx(1.98)
    assert [points_per_curve(curves) for curves in (1, 200, 10_000)] == [400, 200, 60]
