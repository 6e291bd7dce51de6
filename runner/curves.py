"""Rows of metrics.jsonl as curves: samples of a long file at once, or all of it thinned to what can be drawn.

Reads only; rows that are torn or of another form are left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

Row = Mapping[str, object]
Point = tuple[float, float]

TAIL_BYTES = 1 << 16
SAMPLE_BYTES = 1 << 14
SAMPLE_ROWS = 8
BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN_BLOCKS = "_.:-=+*#"


def tail_rows(path: Path) -> list[Row]:
    """The last whole rows of a file, oldest first; none where there is no file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read(TAIL_BYTES)
    except OSError:
        return []
    return list(_rows(text.split(b"\n")[0 if size <= TAIL_BYTES else 1 : -1]))


def course(path: Path, key: str, *, points: int) -> list[float]:
    """How a figure went from the first row to the last: at most `points` means of rows nearby.

    A long file is read only in places: the time does not depend on its length.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size <= points * SAMPLE_BYTES:
                file.seek(0)
                values = [_value(row, key) for row in _rows(file.read().split(b"\n")[:-1])]
                return _means([value for value in values if value is not None], points)
            parts = []
            for number in range(points):
                file.seek((size - SAMPLE_BYTES) * number // (points - 1))
                lines = file.read(SAMPLE_BYTES).split(b"\n")[(number > 0) : -1]
                parts.append(_rows(lines[-SAMPLE_ROWS:] if number == points - 1 else lines[:SAMPLE_ROWS]))
    except OSError:
        return []
    told = [[value for row in part if (value := _value(row, key)) is not None] for part in parts]
    return [sum(values) / len(values) for values in told if values]


def sparkline(values: Sequence[float], *, blocks: str = BLOCKS) -> str:
    """Values as a row of blocks, lowest to highest: `█▅▃▂▂▁`."""
    if not values:
        return ""
    low, span = min(values), max(values) - min(values)
    top = len(blocks) - 1
    return "".join(blocks[round((value - low) / span * top) if span > 0 else 0] for value in values)


def read_rows(path: Path) -> Iterator[Row]:
    """All rows of a file, one after the other."""
    try:
        with path.open("rb") as file:
            yield from _rows(file)
    except OSError:
        return


def thin(points: Sequence[Point], *, limit: int) -> list[Point]:
    """At most `limit` of the points, in order: the first, the last, and the lowest and highest in between."""
    if len(points) <= limit:
        return list(points)
    buckets = max(1, (limit - 2) // 2)
    inner = points[1:-1]
    kept = [points[0]]
    for number in range(buckets):
        part = inner[len(inner) * number // buckets : len(inner) * (number + 1) // buckets]
        low, high = min(part, key=_height), max(part, key=_height)
        kept += sorted({low, high})
    return [*kept, points[-1]]


def _height(point: Point) -> float:
    return point[1]


def _means(values: Sequence[float], points: int) -> list[float]:
    if len(values) <= points:
        return list(values)
    bounds = [len(values) * number // points for number in range(points + 1)]
    return [sum(values[low:high]) / (high - low) for low, high in pairwise(bounds)]


def _rows(lines: Iterator[bytes] | Sequence[bytes]) -> Iterator[Row]:
    for line in lines:
        with suppress(ValueError, RecursionError):
            row = json.loads(line)
            if isinstance(row, dict):
                yield row


def _value(row: Row, key: str) -> float | None:
    return finite(row.get(key))


def finite(value: object) -> float | None:
    """A number that can be drawn; None for anything else, nan and infinity too."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
