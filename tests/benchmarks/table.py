"""The table of results: for a terminal, as plain text, as Markdown and as JSON.

Pure functions of the lines.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from tests.benchmarks.harness import Figure, Line

HEADINGS = ("row", "workload", "ours", "peer", "ratio", "goal", "met")
Results = Mapping[str, Sequence[Line]]
"""Lines by row."""


def cells(row: str, line: Line) -> tuple[str, ...]:
    """One line as texts, one for each heading."""
    if line.void:
        return (row, line.workload, "VOID", line.void, "", _goal(line), "no")
    return (
        row,
        line.workload,
        _figure(line.ours, named=line.ours is not None and line.ours.name != "ours"),
        _figure(line.peer, named=True),
        f"{line.value:,.4g}x" if line.value is not None and line.peer is not None else "",
        _goal(line),
        {True: "yes", False: "NO", None: ""}[line.met],
    )


def all_cells(results: Results) -> list[tuple[str, ...]]:
    """All lines as texts."""
    return [cells(row, line) for row, lines in results.items() for line in lines]


def notes(results: Results) -> list[str]:
    """What lines tell below the table."""
    return [f"{row}: {line.note}" for row, lines in results.items() for line in lines if line.note]


def plain(results: Results) -> str:
    """Columns of plain text."""
    rows = [HEADINGS, *all_cells(results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([*lines, *notes(results)])


def about_markdown(about: Mapping[str, Any]) -> str:
    """What the results are of, as the Markdown table at the head of RESULTS.md."""
    told = {name: _versions(value) if isinstance(value, Mapping) else value for name, value in about.items()}
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in told.items())])


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def markdown(results: Results) -> str:
    """A Markdown table, ready for RESULTS.md."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *all_cells(results)]
    lines = [f"| {' | '.join(text.replace('|', '/') for text in row)} |" for row in rows]
    return "\n".join([*lines, *(f"\n```\n{note}\n```" for note in notes(results))])


def rich(results: Results) -> Table:
    """A table for a terminal, with colours for what was met."""
    table = Table(*HEADINGS)
    colours = {"yes": "green", "NO": "red", "no": "red"}
    for row in all_cells(results):
        table.add_row(*row, style=colours.get(row[-1]))
    return table


def document(results: Results, *, about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything as JSON values, every repeat included."""
    lines = [
        {"row": row, **dataclasses.asdict(line), "value": line.value, "met": line.met}
        for row, lines in results.items()
        for line in lines
    ]
    return {"about": dict(about), "lines": lines}


def quantity(value: float, unit: str) -> str:
    """A number with its unit, three digits that matter."""
    if unit == "s":
        return next(
            f"{value / size:.3g} {name}" for size, name in SECONDS if value >= size or name == SECONDS[-1][1]
        )
    if unit in ("", "x", "%"):
        return f"{value:.4g}{unit and (' %' if unit == '%' else unit)}"
    return f"{value:,.0f} {unit}"


SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))


def _figure(figure: Figure | None, *, named: bool) -> str:
    if figure is None:
        return ""
    text = quantity(figure.median, figure.unit)
    return f"{figure.name}: {text}" if named else text


def _goal(line: Line) -> str:
    return f"{line.goal.sign} {quantity(line.goal.bound, line.goal.unit)}" if line.goal else ""
