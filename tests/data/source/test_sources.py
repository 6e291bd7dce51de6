from __future__ import annotations

import json

import pytest

from onerec.data.source.sources import DataFile, find_files, glob_expression, locations_of, shown
from onerec.errors import DataError
from tests.data.flaky import FORBIDDEN, RESET, flaky_filesystem, hurried, url
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


@pytest.mark.parametrize("source", ["nowhere", "nowhere.json", "no*.parquet", "nowhere/*.parquet", "_tmp/.."])
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


def test_a_file_named_more_than_once_is_told_and_counted(tree, capsys):
    (tree / "list.json").write_text(json.dumps(["a.parquet", "deep/../a.parquet", "b.parquet"]))
    (tree / "link.parquet").symlink_to(tree / "b.parquet")
    files = find_files([str(tree / "list.json"), str(tree / "link.parquet")])
    assert [(file.location, file.named) for file in files] == [
        (f"{tree}/a.parquet", 2),
        (f"{tree}/b.parquet", 2),
    ]
    assert capsys.readouterr().err == (
        f"2 files are named more than once in `sources` and read once: {tree}/a.parquet, {tree}/b.parquet\n"
    )


def test_nothing_is_told_where_each_file_is_named_once(tree, capsys):
    assert {file.named for file in find_files([str(tree)])} == {1}
    assert capsys.readouterr().err == ""


def test_the_order_of_the_sources_is_kept_where_it_is_asked_for(tree):
    sources = [f"{tree}/deep", f"{tree}/b.parquet", f"{tree}"]
    kept = [file.location for file in find_files(sources, keeps_order=True)]
    assert kept == [
        f"{tree}/{name}" for name in ("deep/c.parquet", "deep/er/d.parquet", "b.parquet", "a.parquet")
    ]
    assert [file.location for file in find_files(sources)] == sorted(kept)


def test_a_list_that_names_itself_is_told(tree):
    (tree / "list.json").write_text('["other.json"]')
    (tree / "other.json").write_text('["list.json"]')
    with pytest.raises(DataError, match=r"list\.json: the file list names itself; take that entry out"):
        found(tree / "list.json")


def test_a_name_with_blanks_and_signs_is_found_through_a_url(tree):
    odd = write_rows(tree / "odd" / "day=1 %3A.parquet", sample_rows(1))
    with flaky_filesystem():
        assert found(url(odd), url(tree / "odd")) == [url(odd)]
        assert found(url(tree / "odd" / "day=?*[A].parquet")) == [url(odd)]


@pytest.mark.parametrize(("kind", "asked"), [("info", 2), ("list", 2), ("open", 5), ("read", 5)])
def test_a_passing_fault_of_any_request_is_tried_again(tree, kind, asked, capsys):
    slept = []
    with flaky_filesystem() as flaky:
        flaky.faults[kind] = [RESET]
        files = find_files([url(tree)], patience=hurried(slept))
        assert flaky.asked.count(kind) == asked
    assert [file.content for file in files] == [file.content for file in find_files([str(tree)])]
    assert slept == [2.0]
    assert "; try 2 of 5 in 2.0 s\n" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["info", "list", "open", "read"])
def test_a_forbidden_request_is_told_without_another_try(tree, kind, capsys):
    slept = []
    with flaky_filesystem() as flaky:
        flaky.faults[kind] = [FORBIDDEN]
        with pytest.raises(
            DataError, match=r"^hdfs://flaky.*: cannot be .*ACCESS_DENIED.*; check its access$"
        ):
            find_files([url(tree)], patience=hurried(slept))
    assert (slept, capsys.readouterr().err) == ([], "")


def test_a_fault_that_does_not_pass_is_told_after_five_tries(tree):
    slept = []
    with flaky_filesystem() as flaky:
        flaky.faults["info"] = [RESET] * 9
        with pytest.raises(DataError, match="cannot be read: AWS Error NETWORK_CONNECTION"):
            find_files([url(tree)], patience=hurried(slept))
    assert slept == [2.0, 4.0, 8.0, 16.0]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty"),
        (b"PAR1", "4 bytes long"),
        (b"uuid,source\n" * 100, "it is no parquet at all"),
        (b"PAR1" + b"x" * 100, "its end is missing"),
        (b"PAR1" + b"x" * 100 + b"PARE", "its footer is encrypted"),
    ],
)
def test_what_is_no_whole_parquet_file_is_told_as_what_it_is(tmp_path, content, told):
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(
        DataError, match=rf"a\.parquet: not a whole parquet file \({told}\); write it again or"
    ):
        found(tmp_path)


def test_the_footer_digest_does_not_depend_on_how_much_is_read_at_once(tree, monkeypatch):
    whole = find_files([str(tree)])
    monkeypatch.setattr("onerec.data.source.sources.TAIL_BYTES", 16)
    assert find_files([str(tree)]) == whole


def test_access_keys_are_no_part_of_a_files_identity():
    one, other = (DataFile(f"s3://{keys}b/x.parquet", 1, 2, "f") for keys in ("", "key:secret@"))
    assert one.identity == other.identity
