from __future__ import annotations

import json

import pytest

from onerec.data.sources import find_files, glob_expression, locations_of, shown
from onerec.errors import DataError
from tests.data.rows import sample_rows, write_rows


@pytest.fixture
def tree(tmp_path):
    """Four parquet files, two of them deeper, beside what is no data."""
    for name in (
        "b.parquet",
        "a.parquet",
        "deep/c.parquet",
        "deep/er/d.parquet",
        "_tmp/e.parquet",
        ".f.parquet",
    ):
        write_rows(tmp_path / name, sample_rows(1))
    (tmp_path / "notes.txt").write_text("no data")
    return tmp_path


def found(*sources):
    return [file.location for file in find_files(map(str, sources))]


def test_a_folder_gives_all_its_parquet_files_sorted_and_no_hidden_ones(tree):
    wanted = ["a.parquet", "b.parquet", "deep/c.parquet", "deep/er/d.parquet"]
    assert found(tree) == [f"{tree}/{name}" for name in wanted]


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("*.parquet", ["a.parquet", "b.parquet"]),
        ("[a].parquet", ["a.parquet"]),
        ("[!a].parquet", ["b.parquet"]),
        ("?.parquet", ["a.parquet", "b.parquet"]),
        ("deep/*.parquet", ["deep/c.parquet"]),
        ("*/c.parquet", ["deep/c.parquet"]),
        ("deep/**/*.parquet", ["deep/c.parquet", "deep/er/d.parquet"]),
    ],
)
def test_globs_match_within_and_across_folders(tree, pattern, wanted):
    assert found(f"{tree}/{pattern}") == [f"{tree}/{name}" for name in wanted]


def test_a_file_list_reads_relative_entries_from_its_own_folder(tree):
    listing = tree / "deep" / "file_list.json"
    listing.write_text(json.dumps(["c.parquet", "../a.parquet", str(tree / "b.parquet"), "er"]))
    assert found(listing) == [
        f"{tree}/b.parquet",
        f"{tree}/deep/../a.parquet",
        f"{tree}/deep/c.parquet",
        f"{tree}/deep/er/d.parquet",
    ]


def test_a_file_reached_in_two_ways_is_read_once(tree):
    assert found(tree / "a.parquet", f"{tree}/a*") == [f"{tree}/a.parquet"]


def test_a_file_url_is_read_like_a_path(tree):
    assert found(f"file://{tree}/deep") == [
        f"file://{tree}/deep/c.parquet",
        f"file://{tree}/deep/er/d.parquet",
    ]


@pytest.mark.parametrize("source", ["nowhere", "nowhere.json", "no*.parquet", "_tmp/.."])
def test_what_is_missing_is_told_with_its_remedy(tmp_path, source):
    with pytest.raises(
        DataError, match=r"(no such file or folder|no parquet files there); correct `sources`"
    ):
        found(tmp_path / source)


@pytest.mark.parametrize("text", ["{}", "[1]", "not json"])
def test_a_file_list_that_is_none_is_told_by_name(tmp_path, text):
    (tmp_path / "list.json").write_text(text)
    with pytest.raises(DataError, match=r"list\.json: .*file list"):
        found(tmp_path / "list.json")


@pytest.mark.parametrize("size", [0, 5, 200, -9])
def test_a_truncated_file_is_told_before_anything_is_read(tmp_path, size):
    path = write_rows(tmp_path / "a.parquet", sample_rows(5))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError, match=r"a\.parquet: not a whole parquet file"):
        found(path)


def test_a_url_of_an_unknown_kind_is_told_without_its_password():
    with pytest.raises(DataError, match=r"^nope://host/x: cannot be opened"):
        found("nope://me:secret@host/x")


def test_identity_changes_with_the_file_and_content_does_not_change_with_the_folder(tree, tmp_path):
    before = find_files([str(tree / "a.parquet")])[0]
    moved = write_rows(tmp_path / "elsewhere" / "a.parquet", sample_rows(1))
    assert find_files([str(moved)])[0].content == before.content
    assert find_files([str(moved)])[0].identity != before.identity
    write_rows(tree / "a.parquet", sample_rows(2))
    assert find_files([str(tree / "a.parquet")])[0].content != before.content


def test_globs_read_letters_as_they_are():
    assert glob_expression("/d+/a.b").fullmatch("/d+/a.b")
    assert not glob_expression("/d+/a.b").fullmatch("/dd/aXb")


def test_urls_are_shown_without_credentials():
    assert shown("s3://key:secret@bucket/a?region=x&secret=y") == "s3://bucket/a"
    assert shown("/a/b@c") == "/a/b@c"


def test_a_path_is_made_absolute(tree, monkeypatch):
    monkeypatch.chdir(tree)
    assert list(locations_of("a.parquet")) == [f"{tree}/a.parquet"]
