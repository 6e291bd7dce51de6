"""The table tells each line in full, in every form."""

import io
import json

import pytest
from rich.console import Console

from tests.benchmarks import table
from tests.benchmarks.harness import Figure, Line, at_least, at_most

RESULTS = {
    "C2": [
        Line("deliver", Figure("ours", (2.0, 4.0, 3.0)), Figure("TRL", (30.0,)), at_least(3)),
        Line("deliver", Figure("ours", (3.0,)), Figure("per | sample", (6.0,)), at_least(3)),
        Line("for information", Figure("cold", (0.0123,)), Figure("TRL", (0.0246,))),
    ],
    "C4": [Line("state", Figure("ours", (4100.0,), "bytes"), goal=at_most(4096, "bytes"))],
    "C5": [Line("matrix", void="a pack was lost")],
}


def test_cells():
    assert table.all_cells(RESULTS) == [
        ("C2", "deliver", "3 s", "TRL: 30 s", "10x", ">= 3x", "yes"),
        ("C2", "deliver", "3 s", "per | sample: 6 s", "2x", ">= 3x", "NO"),
        ("C2", "for information", "cold: 12.3 ms", "TRL: 24.6 ms", "2x", "", ""),
        ("C4", "state", "4,100 bytes", "", "", "<= 4,096 bytes", "NO"),
        ("C5", "matrix", "VOID", "a pack was lost", "", "", "no"),
    ]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.2345, "s", "1.23 s"),
        (0.5, "s", "500 ms"),
        (0.00042, "s", "420 us"),
        (0.0, "s", "0 us"),
        (0.0618, "%", "0.0618 %"),
        (1.001, "x", "1.001x"),
        (1494, "packs", "1,494 packs"),
    ],
)
def test_a_quantity_has_its_unit_and_the_digits_that_matter(value, unit, text):
    assert table.quantity(value, unit) == text


def test_the_plain_table_has_aligned_columns():
    lines = table.plain(RESULTS).splitlines()
    assert len(lines) == 6
    assert (
        len({line.index(text) for line, text in zip(lines[:3], ("goal", ">= 3x", ">= 3x"), strict=True)}) == 1
    )


def test_the_markdown_table_has_one_cell_for_each_heading():
    lines = table.markdown(RESULTS).splitlines()
    assert lines[1] == "| --- | --- | --- | --- | --- | --- | --- |"
    assert {line.count("|") for line in lines} == {8}


def test_the_markdown_head_names_machine_and_versions():
    about = {"machine": "2 cores", "ours": {"torch": "2.13.0", "numpy": "2.4"}}
    assert table.about_markdown(about).splitlines()[2:] == [
        "| machine | 2 cores |",
        "| ours | torch 2.13.0, numpy 2.4 |",
    ]


def test_notes_stand_below_the_table():
    results = {
        "C5": [Line("matrix", Figure("ours", (20.0,), "cells"), goal=at_least(20, "cells"), note="all exact")]
    }
    assert table.plain(results).splitlines()[-1] == "C5: all exact"
    assert table.markdown(results).endswith("\n```\nC5: all exact\n```")


def test_the_table_for_terminals_shows_every_cell():
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table.rich(RESULTS))
    text = console.export_text()
    assert all(cell in text for row in table.all_cells(RESULTS) for cell in row)


def test_the_document_has_every_repeat_and_who_met_what():
    document = json.loads(json.dumps(table.document(RESULTS, about={"machine": "2 cores"})))
    assert document["about"] == {"machine": "2 cores"}
    assert [(line["row"], line["met"]) for line in document["lines"]] == [
        ("C2", True),
        ("C2", False),
        ("C2", None),
        ("C4", False),
        ("C5", False),
    ]
    assert document["lines"][0]["ours"]["values"] == [2.0, 4.0, 3.0]
    assert document["lines"][4]["void"] == "a pack was lost"
