from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from runner.identity import MISSING, identify


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, and a hidden one."""
    folder = tmp_path / "data"
    (folder / "deeper").mkdir(parents=True)
    (folder / "a.parquet").write_bytes(b"one")
    (folder / "deeper" / "b.parquet").write_bytes(b"three")
    (folder / ".cache").write_bytes(b"hidden")
    return folder


def test_a_folder_is_its_files_but_not_the_hidden_ones(folder: Path) -> None:
    before = identify(str(folder))
    assert (before.count, before.size) == (2, 8)
    (folder / ".cache").write_bytes(b"changed")
    assert identify(str(folder)) == before


@pytest.mark.parametrize("change", ["size", "content", "name"])
def test_another_size_content_or_name_is_another_identity(folder: Path, change: str) -> None:
    before = identify(str(folder))
    file = folder / "a.parquet"
    if change == "size":
        file.write_bytes(b"four")
    elif change == "content":
        file.write_bytes(b"two")
    else:
        file.rename(folder / "c.parquet")
    assert identify(str(folder)).digest != before.digest


def test_where_the_files_lie_is_no_part_of_it(folder: Path, tmp_path: Path) -> None:
    before = identify(str(folder))
    folder.rename(tmp_path / "moved")
    assert identify(str(tmp_path / "moved")) == before


def test_a_list_stands_for_the_files_in_it(folder: Path) -> None:
    files = folder / "list.json"
    files.write_text(json.dumps(["a.parquet", str(folder / "deeper" / "b.parquet"), "hdfs://host/c"]))
    before = identify(str(files))
    assert before.count == 3
    (folder / "deeper" / "b.parquet").write_bytes(b"other")
    assert identify(str(files)).digest != before.digest


@pytest.mark.parametrize("entry", ["deeper", "deeper/*.parquet"])
def test_a_list_may_name_folders_and_globs(folder: Path, entry: str) -> None:
    files = folder / "list.json"
    files.write_text(json.dumps([entry]))
    before = identify(str(files))
    assert before.count == 2
    (folder / "deeper" / "b.parquet").write_bytes(b"other")
    assert identify(str(files)).digest != before.digest


def test_a_copied_or_touched_file_stays_what_it_is(folder: Path) -> None:
    before = identify(str(folder))
    os.utime(folder / "a.parquet", (1, 1))
    (folder / "README.md").write_text("about these files")
    (folder / "_SUCCESS").touch()
    assert identify(str(folder)) == before


def test_a_glob_stands_for_what_it_finds(folder: Path) -> None:
    assert identify(str(folder / "**" / "*.parquet")).count == 2


def test_what_is_missing_is_told_and_a_url_is_only_its_text(folder: Path) -> None:
    assert identify(str(folder / "none")).digest == MISSING
    first, second = identify("s3://bucket/a"), identify("s3://bucket/b")
    assert (first.count, first.size) == (None, None)
    assert first.digest != second.digest
