"""The steps of a run as a picture: boxes in lanes, data above models, lines from what each has read. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.status import StageStatus

BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 146, 92, 26, 44, 6
DATA_KINDS = frozenset({"build_data", "prepare"})
NO_MODEL = frozenset({*DATA_KINDS, "test_model", "evaluate"})
"""Kinds of step that give no model: the next one does not start from them."""
LONGEST_NAME = 16

Place = tuple[int, int]


@dataclass(frozen=True)
class Box:
    """One step, with its conversion where it has one."""

    name: str
    title: str
    x: int
    y: int
    state: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Arrow:
    """From an output to the step that reads it."""

    path: str
    title: str


@dataclass(frozen=True)
class Picture:
    """The whole pipeline."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    width: int
    height: int
    box_width: int = BOX_WIDTH
    box_height: int = BOX_HEIGHT


def picture(
    stages: Sequence[StageStatus],
    reads: Mapping[str, Sequence[str]],
    *,
    told: Mapping[str, Sequence[str]],
) -> Picture:
    """Boxes and arrows; `reads` are the steps that each has read from, `told` the lines in its box."""
    shown = [stage for stage in stages if stage["kind"] != "convert"]
    inputs = {stage["name"]: _inputs(stage, shown, reads.get(stage["name"], ())) for stage in shown}
    cells = _cells(shown, inputs)
    lanes = max((row for _, row in cells.values()), default=0)
    places = {
        name: (MARGIN + column * (BOX_WIDTH + GAP_X), MARGIN + (lanes - row) * (BOX_HEIGHT + GAP_Y))
        for name, (column, row) in cells.items()
    }
    boxes = tuple(
        Box(
            name=_short(stage["name"]),
            title=stage["name"],
            x=places[stage["name"]][0],
            y=places[stage["name"]][1],
            state=stage["state"],
            lines=tuple(told.get(stage["name"], ())),
        )
        for stage in shown
    )
    arrows = tuple(
        Arrow(_path(cells[source], cells[name], places[source], places[name]), f"{source} to {name}")
        for name, sources in inputs.items()
        for source in sources
    )
    columns = max((column for column, _ in cells.values()), default=0) + 1
    return Picture(
        boxes,
        arrows,
        width=2 * MARGIN + columns * (BOX_WIDTH + GAP_X) - GAP_X,
        height=2 * MARGIN + (lanes + 1) * (BOX_HEIGHT + GAP_Y) - GAP_Y,
    )


def _inputs(stage: StageStatus, shown: Sequence[StageStatus], reads: Sequence[str]) -> list[str]:
    """Steps that it reads from, a conversion as its stage; before it has run, the steps it will follow."""
    names = [one["name"] for one in shown]
    if reads:
        found = [read.removesuffix(":convert") for read in reads]
        return [name for name in dict.fromkeys(found) if name in names and name != stage["name"]]
    before = shown[: names.index(stage["name"])]
    of_models = [one["name"] for one in before if one["kind"] not in NO_MODEL][-1:]
    data = (
        [one["name"] for one in before if one["kind"] == "prepare"][-1:] if stage["kind"] == "train" else []
    )
    first = [one["name"] for one in before][-1:] if not of_models else []
    return [*data, *(of_models if stage["kind"] != "build_data" else []), *first]


def _cells(shown: Sequence[StageStatus], inputs: Mapping[str, Sequence[str]]) -> dict[str, tuple[int, int]]:
    """Column and lane of each step: models one after the other in lane 0, data above, before who reads it."""
    cells: dict[str, tuple[int, int]] = {}
    models = [stage["name"] for stage in shown if stage["kind"] not in DATA_KINDS]
    is_built = any(stage["kind"] == "build_data" for stage in shown)
    for column, name in enumerate(models):
        cells[name] = (column + is_built, 0)
    taken = set(cells.values())
    for stage in shown:
        if stage["kind"] not in DATA_KINDS:
            continue
        readers = [cells[name][0] for name in models if stage["name"] in inputs[name]]
        column = max(0, min(readers, default=1) - 1) if stage["kind"] == "prepare" else 0
        lane = next(lane for lane in range(1, len(shown) + 2) if (column, lane) not in taken)
        cells[stage["name"]] = (column, lane)
        taken.add((column, lane))
    return cells


def _path(source: Place, target: Place, start: Place, end: Place) -> str:
    """An SVG path between two boxes: straight to a neighbour, else between the lanes."""
    middle = BOX_HEIGHT // 2
    if source[0] == target[0]:
        x, is_up = start[0] + BOX_WIDTH // 2, source[1] < target[1]
        return f"M{x},{start[1] + BOX_HEIGHT * (not is_up)}V{end[1] + BOX_HEIGHT * is_up}"
    x1, y1, x2, y2 = start[0] + BOX_WIDTH, start[1] + middle, end[0], end[1] + middle
    if source[1] == target[1] and target[0] == source[0] + 1:
        return f"M{x1},{y1}H{x2}"
    if target[0] == source[0] + 1:
        bend = (x1 + x2) // 2
        return f"M{x1},{y1}C{bend},{y1} {bend},{y2} {x2},{y2}"
    below = end[1] + BOX_HEIGHT + GAP_Y // 2
    gap, out, into = end[1] - GAP_Y // 2 if target[1] == 0 else below, x1 + GAP_X, x2 - GAP_X
    return f"M{x1},{y1}C{out},{y1} {x1},{gap} {out},{gap}H{into}C{x2},{gap} {into},{y2} {x2},{y2}"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
