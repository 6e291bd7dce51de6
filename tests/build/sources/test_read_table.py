"""Files of every format give the same rows; damaged ones are told."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onerec.build.sources import read_table
from onerec.build.sources.oddities import Oddities
from onerec.build.sources.read_table import TableFile, files_of
from onerec.errors import ConfigError, DataError

ROWS = [
    {"user": "a", "note": "x, y", "n": 1},
    {"user": None, "note": 'said "so"\nand left', "n": 2},
    {"user": "ü", "note": None, "n": 3},
]
CSV = 'user,note,n\na,"x, y",1\n,"said ""so""\nand left",2\nü,,3\n'


def write(path, kind):
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
        return path
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    text = {"csv": CSV, "tsv": CSV.replace("x, y", "x; y").replace(",", "\t").replace("x; y", "x, y")}
    content = text.get(kind, lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def rows(path, columns, oddities=None):
    batches = TableFile(path).batches(columns, oddities or Oddities("here"))
    return [row for batch in batches for row in batch.to_pylist()]


@pytest.mark.parametrize(
    "name",
    [
        "t.parquet",
        "t.csv",
        "t.CSV",
        "t.csv.gz",
        "t.tsv",
        "t.tsv.gz",
        "t.jsonl",
        "t.jsonl.gz",
        "t.ndjson",
        "t.json",
    ],
)
def test_every_format_has_the_same_rows_in_the_columns_asked_for(tmp_path, name):
    path = write(tmp_path / name, name.lower().split(".")[1])
    assert TableFile(path).column_names() == ["user", "note", "n"]
    assert rows(path, ["note", "user"]) == [{"note": row["note"], "user": row["user"]} for row in ROWS]


@pytest.mark.parametrize("lines", [1, 2, 3])
def test_json_lines_are_read_block_by_block(tmp_path, monkeypatch, lines):
    monkeypatch.setattr(read_table, "BLOCK_BYTES", 60 * lines)
    path = write(tmp_path / "t.jsonl", "jsonl")
    assert rows(path, ["note", "n"]) == [{"note": row["note"], "n": row["n"]} for row in ROWS]


def test_a_table_may_begin_with_a_mark_of_its_encoding(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfuser,n\na,1\n")
    assert TableFile(tmp_path / "t.csv").column_names() == ["user", "n"]


def test_json_columns_that_change_their_type_keep_what_each_value_was(tmp_path):
    lines = ['{"id": 1, "w": 1}', '{"id": "a", "w": 2.5}', '{"w": null, "more": [1]}', '{"id": [2]}']
    (tmp_path / "t.jsonl").write_text("\n".join([*lines, ""]))
    assert rows(tmp_path / "t.jsonl", ["id", "w"]) == [
        {"id": {"text": "1", "is_number": True}, "w": 1},
        {"id": {"text": "a", "is_number": False}, "w": 2.5},
        {"id": None, "w": None},
        {"id": {"text": "[2]", "is_number": False}, "w": None},
    ]


def test_lines_that_are_no_json_objects_are_counted_by_their_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(read_table, "BLOCK_BYTES", 24)
    deep = "[" * 100_000
    text = '{"id": 1}\n\n{"id": 2\n{"id": 3}\n{"id": 4}\n[5]\nnull\n' + deep + '\n{"id": 6}\n'
    (tmp_path / "t.jsonl").write_text(text)
    oddities = Oddities("here")
    assert [row["id"] for row in rows(tmp_path / "t.jsonl", ["id"], oddities)] == [1, 3, 4, 6]
    assert oddities.faults == [
        "lines of t.jsonl that are not JSON objects: 4 (line 3; line 6; line 7; ...); correct or remove them"
    ]


def test_an_endless_line_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(read_table, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(read_table, "MAX_LINE_BYTES", 5000)
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(b'{"id": "' + b"a" * 10**7))
    with pytest.raises(
        DataError, match=r"t\.jsonl\.gz has a line of more than 5,000 bytes; is it JSON lines\?"
    ):
        rows(tmp_path / "t.jsonl.gz", ["id"])


def test_rows_with_another_number_of_cells_are_counted(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n1,2,3\n4\n5,6\n")
    oddities = Oddities("here")
    assert rows(tmp_path / "t.csv", ["b"], oddities) == [{"b": "2"}, {"b": "6"}]
    assert oddities.faults == [
        "rows of t.csv with more or fewer cells than its header: 2 "
        "(3 cells, not 2: '1,2,3'; 1 cells, not 2: '4'); quote what holds the separator"
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.parquet", b"PAR1 and no more"),
        ("t.parquet", b""),
        ("t.csv", b""),
        ("t.csv", b"a,b\n\xff\xfe,2\n"),
        ("t.csv.gz", b"not gzip at all"),
        ("t.csv.gz", gzip.compress(b"a,b\n" + bytes(range(48, 58)) * 500)[:-20]),
        ("t.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 500)[:-20]),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as told:
        rows(tmp_path / name, TableFile(tmp_path / name).column_names())
    assert str(told.value).startswith(f"{tmp_path / name} cannot be read: ")
    assert str(told.value).endswith("; repair it or fetch it again")


def test_a_folder_is_all_tables_in_it_and_below_in_order_of_names(tmp_path):
    for name in ("b.csv", "a.jsonl.gz", "_SUCCESS", ".hidden.csv", "notes.txt", "below/c.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    found = [str(file.path.relative_to(tmp_path)) for file in files_of(str(tmp_path), "items")]
    assert found == ["a.jsonl.gz", "b.csv", "below/c.parquet"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "items: {} is not there; name a file or folder"),
        (
            "empty",
            "items: {} holds no file of .parquet, .csv, .tsv, .jsonl, .ndjson, .json (or these with .gz)",
        ),
        ("t.xlsx", "items: {} is none of .parquet, .csv, .tsv, .jsonl, .ndjson, .json (or these with .gz)"),
    ],
)
def test_a_place_without_tables_is_told(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.xlsx").write_text("")
    with pytest.raises(ConfigError) as told:
        files_of(str(tmp_path / name), "items")
    assert str(told.value) == message.format(tmp_path / name)
