from __future__ import annotations

from typing import Any

from runner.history import History
from runner.page.pipeline import BOX_HEIGHT, BOX_WIDTH, GAP_X, GAP_Y, MARGIN, picture
from runner.status import StageStatus, status


def stages(*names_and_kinds: tuple[str, str]) -> list[StageStatus]:
    steps: Any = [
        {"name": name, "kind": kind, "stage": name, "folder": name, "output_dir": name}
        for name, kind in names_and_kinds
    ]
    return status(History(steps=tuple(steps)), run="r", alive=False, files={})["stages"]


WHOLE = stages(
    ("data", "build_data"),
    ("base", "init_model"),
    ("prepare:a", "prepare"),
    ("first", "train"),
    ("first:convert", "convert"),
    ("second", "train"),
    ("test", "test_model"),
)
READS = {
    "base": ["data"],
    "prepare:a": ["base", "data"],
    "first": ["base", "prepare:a"],
    "second": ["first:convert", "prepare:a"],
    "test": ["second", "data"],
}


def test_data_stands_above_models_and_conversions_are_part_of_their_stage() -> None:
    drawn = picture(WHOLE, READS, told={"first": ["done"]})
    step = BOX_WIDTH + GAP_X
    places = {
        box.title: ((box.x - MARGIN) // step, (box.y - MARGIN) // (BOX_HEIGHT + GAP_Y)) for box in drawn.boxes
    }
    assert places == {
        "data": (0, 0),
        "prepare:a": (1, 0),
        "base": (1, 1),
        "first": (2, 1),
        "second": (3, 1),
        "test": (4, 1),
    }
    assert {arrow.title for arrow in drawn.arrows} == {
        "data to base",
        "base to prepare:a",
        "data to prepare:a",
        "base to first",
        "prepare:a to first",
        "first to second",
        "prepare:a to second",
        "second to test",
        "data to test",
    }
    assert [box.lines for box in drawn.boxes if box.title == "first"] == [("done",)]
    assert (drawn.width, drawn.height) == (2 * MARGIN + 5 * step - GAP_X, 2 * MARGIN + 2 * BOX_HEIGHT + GAP_Y)


def test_no_two_boxes_share_a_place_and_all_lie_inside() -> None:
    many = stages(
        *((f"prepare:{number}", "prepare") for number in range(5)), ("first", "train"), ("second", "train")
    )
    drawn = picture(many, {"first": [f"prepare:{number}" for number in range(5)]}, told={})
    places = {(box.x, box.y) for box in drawn.boxes}
    assert len(places) == len(drawn.boxes)
    assert all(
        x >= 0 and x + BOX_WIDTH <= drawn.width and 0 <= y <= drawn.height - BOX_HEIGHT for x, y in places
    )


def test_steps_that_have_not_run_follow_those_before_them() -> None:
    drawn = picture(WHOLE, {}, told={})
    assert {arrow.title for arrow in drawn.arrows} == {
        "data to base",
        "base to prepare:a",
        "prepare:a to first",
        "base to first",
        "prepare:a to second",
        "first to second",
        "second to test",
    }


def test_long_names_are_cut_and_told_whole_beside() -> None:
    (box,) = picture(stages(("n" * 40, "train")), {}, told={}).boxes
    assert (len(box.name), box.title) == (16, "n" * 40)
    assert picture([], {}, told={}).boxes == ()
