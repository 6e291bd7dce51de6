from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onerec.data.read import records, rows
from onerec.data.validate import RowError, row_from
from onerec.errors import DataError
from tests.data.rows import TEXT_COLUMNS, as_columns, chat, identifier, sample_rows, text, write_rows


def contents(read):
    return [(row.uuid, row.source, row.messages, row.segments) for row in read]


def test_all_row_groups_are_read_in_order(tmp_path):
    written = sample_rows(2500)
    path = write_rows(tmp_path / "a.parquet", written, row_group_size=700)
    read = list(rows(str(path)))
    assert contents(read) == contents(written)
    assert [(row.file, row.row) for row in read] == [(str(path), number) for number in range(2500)]


TEXT_PART = pa.struct([("type", pa.string()), ("text", pa.string()), ("image", pa.binary())])
NESTED = pa.schema(
    [
        ("uuid", pa.large_string()),
        ("source", pa.dictionary(pa.int32(), pa.string())),
        ("metadata", pa.struct([("a", pa.int64())])),
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.list_(TEXT_PART))]))),
        ("segments", pa.large_list(TEXT_PART)),
        ("image", pa.binary()),
    ]
)


def as_nested(row):
    def part(words):
        return [{"type": "text", "text": word} for word in words]

    return {
        "uuid": row.uuid,
        "source": row.source,
        "messages": row.messages and [{"role": m.role, "content": part([m.content])} for m in row.messages],
        "segments": row.segments and part(row.segments),
        "image": b"\xff" * 10,
    }


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip"])
def test_nested_dictionary_and_large_columns_read_like_json_text(tmp_path, compression):
    written = sample_rows(40)
    table = pa.Table.from_pylist([as_nested(row) for row in written], schema=NESTED)
    pq.write_table(table, tmp_path / "a.parquet", compression=compression)
    assert contents(rows(str(tmp_path / "a.parquet"))) == contents(written)


def test_columns_that_are_not_needed_are_not_read(tmp_path):
    table = pa.Table.from_pylist([as_columns(text("a"))], schema=TEXT_COLUMNS)
    table = table.append_column("video", pa.array([b"v" * 100]))
    pq.write_table(table, tmp_path / "a.parquet")
    [record] = records(str(tmp_path / "a.parquet"))
    assert set(record.values) == {"uuid", "source", "metadata", "messages", "segments"}


@pytest.mark.parametrize(
    ("columns", "missing"),
    [(["uuid", "segments"], "source"), (["uuid", "source", "metadata"], "messages or segments")],
)
def test_a_missing_column_is_told_with_the_file(tmp_path, columns, missing):
    table = pa.Table.from_pylist([as_columns(text("a"))], schema=TEXT_COLUMNS).select(columns)
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=rf"a\.parquet: no column {missing}"):
        list(records(str(tmp_path / "a.parquet")))


def test_a_damaged_page_is_told_with_the_file(tmp_path):
    path = write_rows(tmp_path / "a.parquet", sample_rows(200), write_page_checksum=True, compression="none")
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 3] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read as parquet"):
        list(records(str(path)))


def test_a_value_that_is_not_utf8_spoils_its_row_alone(tmp_path):
    good, bad = as_columns(text("a", number=1)), as_columns(text("b", number=2))
    table = pa.Table.from_pylist([good, bad], schema=TEXT_COLUMNS)
    broken = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.array([0, 1, 2], pa.int32()).buffers()[1], pa.py_buffer(b"s\xff")]
    )
    pq.write_table(table.set_column(1, "source", broken), tmp_path / "a.parquet")
    first, second = records(str(tmp_path / "a.parquet"))
    assert row_from(first).source == "s"
    with pytest.raises(RowError, match="not valid UTF-8"):
        row_from(second)


def test_rows_of_a_folder_stop_at_the_first_bad_row_by_name(tmp_path):
    write_rows(tmp_path / "a.parquet", [chat(("user", "q"), ("assistant", "a"))])
    write_rows(tmp_path / "b.parquet", [text("a"), {**as_columns(text("b")), "source": ""}])
    read = rows(str(tmp_path))
    assert [next(read).uuid, next(read).uuid] == [identifier(0), identifier(0)]
    with pytest.raises(DataError, match=r"b\.parquet, row 1: source is empty"):
        next(read)
