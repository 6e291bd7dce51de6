import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onerec.build import rows
from onerec.build.rows import COLUMNS, SCHEMA, Row, write_rows, write_tables

CHAT = Row("u1", "next_item", {"user": "7"}, messages=({"role": "user", "content": "电影?"},))
TEXT = Row("u2", "history", {"user": "7", "window": 0}, segments=("a", "b"))


def read(folder):
    listed = json.loads((folder / "file_list.json").read_text(encoding="utf-8"))
    return [row for name in listed for row in pq.read_table(folder / name).to_pylist()]


def test_rows_have_every_column_of_the_format_and_json_text_in_it(tmp_path):
    write_rows([CHAT, TEXT], tmp_path / "set")
    empty = dict.fromkeys(COLUMNS)
    assert read(tmp_path / "set") == [
        empty
        | {
            "uuid": "u1",
            "source": "next_item",
            "metadata": '{"user":"7"}',
            "messages": '[{"role":"user","content":"电影?"}]',
        },
        empty
        | {
            "uuid": "u2",
            "source": "history",
            "metadata": '{"user":"7","window":0}',
            "segments": '[{"type":"text","text":"a"},{"type":"text","text":"b"}]',
        },
    ]


def test_files_are_numbered_as_the_reference_numbers_them(tmp_path):
    many = [Row(f"u{n}", f"s{n % 2}", {}, segments=(str(n),)) for n in range(2001)]
    counts = write_rows(many, tmp_path / "set")
    names = [f"part-0000{n}-of-00003.parquet" for n in range(3)]
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["file_list.json", *names]
    assert [pq.read_metadata(tmp_path / "set" / name).num_rows for name in names] == [1000, 1000, 1]
    assert [row["uuid"] for row in read(tmp_path / "set")] == [f"u{n}" for n in range(2001)]
    assert counts == {"s0": 1001, "s1": 1000}


@pytest.mark.parametrize("sizes", [[7], [1] * 7, [2, 0, 5], [3, 3, 1], []])
def test_files_do_not_depend_on_the_sizes_of_the_tables(tmp_path, monkeypatch, sizes):
    monkeypatch.setattr(rows, "ROWS_PER_FILE", 3)
    many = [Row(f"u{n}", "ab"[n % 2], {}, segments=(str(n),)) for n in range(sum(sizes))]
    whole = pa.Table.from_pylist([row.cells() for row in many], schema=SCHEMA)
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    tables = (whole.slice(start, size) for start, size in zip(starts, sizes, strict=True))
    assert write_tables(tables, tmp_path / "tables") == write_rows(many, tmp_path / "rows")
    assert [path.name for path in sorted((tmp_path / "tables").glob("*.parquet"))] == [
        f"part-0000{n}-of-0000{-(-len(many) // 3)}.parquet" for n in range(-(-len(many) // 3))
    ]
    for path in (tmp_path / "rows").iterdir():
        assert (tmp_path / "tables" / path.name).read_bytes() == path.read_bytes()


def test_pages_have_checksums(tmp_path):
    write_rows([CHAT], tmp_path / "set")
    path = tmp_path / "set" / "part-00000-of-00001.parquet"
    column = pq.read_metadata(path).row_group(0).column(COLUMNS.index("messages"))
    damaged = bytearray(path.read_bytes())
    damaged[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(OSError, match="CRC checksum verification failed"):
        pq.read_table(path, page_checksum_verification=True)


def test_a_write_that_breaks_off_leaves_the_earlier_set_and_nothing_else(tmp_path):
    write_rows([CHAT], tmp_path / "set")

    def broken():
        yield TEXT
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_rows(broken(), tmp_path / "set")
    assert [row["uuid"] for row in read(tmp_path / "set")] == ["u1"]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_shorter_set_replaces_a_longer_one_and_what_a_killed_run_left(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "ROWS_PER_FILE", 1)
    (tmp_path / ".set.tmp").mkdir()
    (tmp_path / ".set.tmp" / "part-00000.parquet").write_text("half")
    write_rows([CHAT, TEXT], tmp_path / "set")
    write_rows([TEXT], tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert [row["uuid"] for row in read(tmp_path / "set")] == ["u2"]
