from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from onerec.errors import ConfigError
from runner.runs import find_runs, listing_document, listing_text
from tests.runner.page.made import make_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two runs, one of them deeper and newer, a damaged one, and what is none."""
    make_run(tmp_path / "runs", rows=20)
    make_run(tmp_path / "runs" / "group", rows=10)
    damaged = tmp_path / "runs" / "damaged"
    shutil.copytree(tmp_path / "runs" / "small", damaged)
    lines = (damaged / "events.jsonl").read_bytes().splitlines(keepends=True)
    (damaged / "events.jsonl").write_bytes(b"".join([lines[0], b"garbage\n", *lines[2:]]))
    (tmp_path / "runs" / "latest").symlink_to("small")
    (tmp_path / "runs" / "notes").mkdir()
    return tmp_path / "runs"


def test_every_run_is_found_newest_first_and_damage_is_told(folder: Path) -> None:
    found = find_runs(folder)
    assert [(line["run"], line["state"]) for line in found] == [
        ("group/small", "interrupted"),
        ("small", "interrupted"),
        ("damaged", "damaged"),
    ]
    assert "line 2: it is no event; restore the file" in str(found[2]["reason"])
    assert (found[1]["stage"], found[1]["step"], found[1]["total_steps"], found[1]["loss"]) == (
        "second",
        20,
        40,
        0.5,
    )


def test_the_form_is_fixed(folder: Path) -> None:
    document = listing_document(find_runs(folder))
    assert (document["schema_version"], len(document["runs"])) == (1, 3)
    assert {key: type(value).__name__ for key, value in document["runs"][0].items()} == {
        "run": "str",
        "path": "str",
        "state": "str",
        "reason": "str",
        "stage": "str",
        "step": "int",
        "total_steps": "int",
        "loss": "float",
        "started_time": "float",
        "last_updated_time": "float",
        "size_bytes": "int",
    }


def test_the_list_is_a_table_with_the_reasons_under_it(folder: Path) -> None:
    found = find_runs(folder)
    started = found[0]["started_time"] or 0.0
    lines = listing_text(found, now=started + 90).splitlines()
    assert lines[0].split() == [
        "run",
        "state",
        "stage",
        "step",
        "loss",
        "started",
        "last",
        "sign",
        "of",
        "life",
        "size",
    ]
    assert lines[1].startswith("group/small  interrupted  second  10/20  0.5000  1m30s ago  1m30s ago")
    assert lines[3].startswith("damaged      damaged")
    assert [line.partition(":")[0] for line in lines[5:]] == ["group/small", "small", "damaged"]


def test_files_count_once_and_links_not_at_all(tmp_path: Path) -> None:
    run = make_run(tmp_path, rows=10)
    before = find_runs(tmp_path)[0]["size_bytes"]
    os.link(run.events, run.path / "again")
    (run.path / "link").symlink_to(run.events)
    assert find_runs(tmp_path)[0]["size_bytes"] == before
    (run.path / "more").write_bytes(b"x" * 1000)
    assert find_runs(run.path)[0]["size_bytes"] == before + 1000


def test_a_folder_may_hold_no_run_but_has_to_be_there(tmp_path: Path) -> None:
    assert listing_text(find_runs(tmp_path), now=0.0) == "no runs; start one: python -m runner MANIFEST"
    with pytest.raises(ConfigError, match="none is no folder; name the one that holds your runs"):
        find_runs(tmp_path / "none")
