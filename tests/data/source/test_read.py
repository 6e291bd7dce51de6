from __future__ import annotations

import uuid

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onerec.build import rows as built_rows
from onerec.data.source.read import batches, footer, records, rows, sample_records
from onerec.data.source.validate import RowError, row_from
from onerec.errors import DataError
from tests.data.flaky import flaky_filesystem, url
from tests.data.memory import peak_megabytes, write_large
from tests.data.rows import (
    TEXT_COLUMNS,
    as_columns,
    chat,
    identifier,
    sample_rows,
    text,
    write_rows,
)


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
    with pytest.raises(DataError, match=r"a\.parquet, row group 0: cannot be read as parquet"):
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


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
def test_every_compression_is_read(tmp_path, compression):
    written = sample_rows(50)
    path = write_rows(tmp_path / "a.parquet", written, compression=compression, row_group_size=20)
    assert contents(rows(str(path))) == contents(written)


def textual(kind):
    """Rows whose columns of JSON text have another physical type."""
    table = pa.Table.from_pylist([as_columns(row) for row in sample_rows(40)], schema=TEXT_COLUMNS)
    return pa.table({name: table[name].cast(pa.string()).cast(kind) for name in table.schema.names})


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary()], ids=str
)
def test_text_is_read_whatever_its_physical_type(tmp_path, kind):
    pq.write_table(textual(kind), tmp_path / "a.parquet", row_group_size=15)
    assert contents(rows(str(tmp_path / "a.parquet"))) == contents(sample_rows(40))


def test_dictionary_columns_of_every_text_are_read(tmp_path):
    table = textual(pa.large_string())
    encoded = pa.table({name: table[name].dictionary_encode() for name in table.schema.names})
    pq.write_table(encoded, tmp_path / "a.parquet")
    assert contents(rows(str(tmp_path / "a.parquet"))) == contents(sample_rows(40))


def test_uuid_columns_and_metadata_maps_are_read(tmp_path):
    table = textual(pa.string())
    ids = pa.array([uuid.UUID(value).bytes for value in table["uuid"].to_pylist()], pa.binary(16))
    maps = pa.array([[("a", "1")]] * 40, pa.map_(pa.string(), pa.string()))
    table = table.set_column(0, "uuid", pa.ExtensionArray.from_storage(pa.uuid(), ids))
    pq.write_table(table.set_column(2, "metadata", maps), tmp_path / "a.parquet")
    read = list(rows(str(tmp_path / "a.parquet")))
    assert contents(read) == contents(sample_rows(40))
    assert read[0].metadata == {"a": "1"}


def test_bytes_that_are_no_text_spoil_their_row_alone(tmp_path):
    table = textual(pa.binary())
    texts = table["segments"].to_pylist()
    texts[1] = b"\xff"
    pq.write_table(table.set_column(4, "segments", pa.array(texts)), tmp_path / "a.parquet")
    read = list(records(str(tmp_path / "a.parquet")))
    with pytest.raises(RowError, match="not valid UTF-8"):
        row_from(read[1])
    assert [row_from(record).uuid for record in read[2:]] == [row.uuid for row in sample_rows(40)[2:]]


def test_a_flipped_byte_is_told_with_its_row_group_after_the_rows_before_it(tmp_path):
    path = write_rows(
        tmp_path / "a.parquet",
        sample_rows(300),
        row_group_size=100,
        write_page_checksum=True,
        use_dictionary=False,
        compression="none",
    )
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(4)
    damaged = bytearray(path.read_bytes())
    damaged[chunk.data_page_offset + chunk.total_compressed_size - 1] ^= 1
    path.write_bytes(damaged)
    read = records(str(path))
    assert [next(read).row for _ in range(100)] == list(range(100))
    with pytest.raises(DataError, match=r"a\.parquet, row group 1: .*CRC checksum.*; write it again"):
        next(read)


def test_rows_built_here_have_page_checksums(tmp_path):
    built_rows.write_rows(
        [built_rows.Row(identifier(0), "s", {}, segments=("text " * 50,))], tmp_path / "out"
    )
    [path] = (tmp_path / "out").glob("*.parquet")
    damaged = bytearray(path.read_bytes())
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(6)
    damaged[chunk.data_page_offset - 1] ^= 1  # the end of the dictionary page
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="CRC checksum"):
        list(records(str(path)))


def test_a_footer_tells_rows_groups_columns_and_sizes(tmp_path):
    path = write_rows(tmp_path / "a.parquet", sample_rows(250), row_group_size=100)
    found = footer(str(path))
    assert (found.rows, found.row_groups, found.columns) == (250, 3, tuple(TEXT_COLUMNS.names))
    assert found.schema.splitlines()[0] == "uuid: string"
    assert 0 < found.compressed_bytes < path.stat().st_size
    assert found.uncompressed_bytes > 250 * 36


def test_a_sample_is_the_first_rows_and_the_rest_is_not_read(tmp_path):
    path = write_rows(tmp_path / "a.parquet", sample_rows(20_000), row_group_size=5000)
    places = []
    with flaky_filesystem() as flaky:
        flaky.before_read = places.append
        sampled = sample_records(url(path), 7)
    assert [record.row for record in sampled] == list(range(7))
    assert [row_from(record).uuid for record in sampled] == [row.uuid for row in sample_rows(7)]
    ends = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    footer_at = path.stat().st_size - (1 << 16)
    assert all(place < ends or place >= footer_at for place in places)
    assert len(sample_records(str(path), 30_000)) == 20_000


def test_a_file_without_rows_has_none(tmp_path):
    path = write_rows(tmp_path / "a.parquet", [])
    assert (list(records(str(path))), footer(str(path)).rows) == ([], 0)


@pytest.mark.parametrize("read", [footer, lambda location: list(records(location))])
@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "cannot be read as parquet"), (b"no parquet " * 9, "cannot be read as parquet")],
)
def test_what_is_no_parquet_is_told_with_the_file_and_a_remedy(tmp_path, read, content, told):
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(
        DataError, match=rf"a\.parquet: {told}: .*; write it again or take it out of `sources`"
    ):
        read(str(tmp_path / "a.parquet"))


def test_long_rows_are_read_fewer_at_a_time(tmp_path):
    path = write_rows(tmp_path / "a.parquet", [text("x" * 3_000_000, number=n) for n in range(12)])
    table = pq.read_table(path)
    unlike = table.set_column(
        4, "segments", pa.array([f"{n}{value}" for n, value in enumerate(table[4].to_pylist())])
    )
    pq.write_table(unlike, path, use_dictionary=False)
    assert [batch.num_rows for batch in batches(str(path))] == [5, 5, 2]
    assert max(batch.nbytes for batch in batches(str(path))) < 17 << 20


def test_memory_is_bounded_by_less_than_a_row_group(tmp_path):
    path = write_large(tmp_path / "a.parquet", megabytes=150)
    assert pq.ParquetFile(path).metadata.row_group(0).total_byte_size > 150 << 20
    taken = peak_megabytes(
        "from onerec.data.source.read import records", "for _ in records(argument): pass", path
    )
    assert taken < 130
