from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onerec.config import ShardConfig, dump_config
from onerec.data.source import shard as shard_module
from onerec.data.source.read import records, rows
from onerec.data.source.shard import shard
from onerec.data.source.sources import find_files
from onerec.errors import ConfigError, DataError, StorageError
from tests.data.memory import peak_megabytes, write_large
from tests.data.rows import TEXT_COLUMNS, as_columns, sample_rows, text, write_rows


@pytest.fixture
def tree(tmp_path):
    """2500 rows in two folders and a file of their own."""
    write_rows(tmp_path / "in" / "b.parquet", sample_rows(900), row_group_size=400)
    write_rows(tmp_path / "in" / "deep" / "c.parquet", sample_rows(1000, start=900))
    write_rows(tmp_path / "more" / "a.parquet", sample_rows(600, start=1900), compression="gzip")
    return tmp_path


def config(tmp_path, *sources, **options):
    return ShardConfig(
        output_dir=str(tmp_path / "out"),
        sources=tuple(map(str, sources)),
        **{"rows_per_file": 1000, **options},
    )


def uuids(source):
    return [row.uuid for row in rows(str(source))]


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_trees_are_merged_in_order_and_split_into_files_of_equal_rows(tree):
    summary = shard(config(tree, tree / "more", tree / "in"))
    names = [f"part-{number:05d}-of-00003.parquet" for number in range(3)]
    assert json.loads((tree / "out" / "file_list.json").read_text()) == names
    assert [pq.ParquetFile(tree / "out" / name).metadata.num_rows for name in names] == [1000, 1000, 500]
    wanted = [*sample_rows(600, start=1900), *sample_rows(1900)]
    assert uuids(tree / "out" / "file_list.json") == [row.uuid for row in wanted]
    assert listing(tree / "out") == ["file_list.json", *names, "progress.json", "shard.json"]
    assert {name: summary[name] for name in ("files", "rows", "rejected", "input_files", "reused")} == {
        "files": 3,
        "rows": 2500,
        "rejected": 0,
        "input_files": 3,
        "reused": False,
    }
    assert sum(summary["sources"].values()) == 2500
    assert listing(tree) == ["in", "more", "out"]


@pytest.mark.parametrize("rows_per_file", [1, 7, 600, 2499, 2500, 9999])
def test_no_row_is_lost_or_moved_at_any_size(tree, rows_per_file):
    few = write_rows(tree / "few.parquet", sample_rows(30)) if rows_per_file < 10 else tree / "in"
    shard(config(tree, few, rows_per_file=rows_per_file))
    counts = [pq.ParquetFile(path).metadata.num_rows for path in sorted((tree / "out").glob("*.parquet"))]
    assert set(counts[:-1]) <= {rows_per_file}
    assert 0 < counts[-1] <= rows_per_file
    assert uuids(tree / "out") == uuids(few)


def test_small_row_groups_give_the_same_rows(tree, monkeypatch):
    monkeypatch.setattr(shard_module, "ROW_GROUP_BYTES", 20_000)
    shard(config(tree, tree / "in"))
    first = pq.ParquetFile(tree / "out" / "part-00000-of-00002.parquet")
    assert first.num_row_groups > 3
    assert uuids(tree / "out") == uuids(tree / "in")


def test_all_columns_are_kept_as_they_are(tmp_path):
    table = pa.Table.from_pylist([as_columns(text("a", number=n)) for n in range(4)], schema=TEXT_COLUMNS)
    video = pa.array([[{"frame": n, "blob": b"\xff"}] for n in range(4)])
    pq.write_table(table.append_column("video", video), tmp_path / "a.parquet")
    pq.write_table(table.append_column("label", pa.array([1.5] * 4)), tmp_path / "b.parquet")
    shard(config(tmp_path, tmp_path / "a.parquet", tmp_path / "b.parquet", rows_per_file=5))
    whole = pa.concat_tables(pq.read_table(path) for path in sorted((tmp_path / "out").glob("*.parquet")))
    assert whole.column_names == [*TEXT_COLUMNS.names, "video", "label"]
    assert whole["video"].to_pylist() == video.to_pylist() + [None] * 4
    assert whole["label"].to_pylist() == [None] * 4 + [1.5] * 4
    assert whole.select(TEXT_COLUMNS.names).to_pylist() == table.to_pylist() * 2


def test_a_clash_of_columns_is_told_with_both_files_before_anything_is_written(tree):
    table = pq.read_table(tree / "more" / "a.parquet")
    clash = table.set_column(2, "metadata", pa.array([1] * len(table)))
    pq.write_table(clash, tree / "more" / "z.parquet")
    with pytest.raises(
        DataError, match=r"column metadata is string in .*/a\.parquet and int64 in .*/z\.parquet"
    ):
        shard(config(tree, tree / "more"))
    assert listing(tree) == ["in", "more"]


def test_parts_have_page_checksums(tree):
    shard(config(tree, tree / "in", rows_per_file=5000))
    [path] = (tree / "out").glob("*.parquet")
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
    assert chunk.compression == "ZSTD"
    damaged = bytearray(path.read_bytes())
    damaged[chunk.data_page_offset - 1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"row group 0: .*CRC checksum"):
        list(records(str(path)))


def with_bad_rows(path, count):
    good, bad = sample_rows(100), [{**as_columns(text("x", number=n)), "uuid": "none"} for n in range(count)]
    return write_rows(path, [*good[:50], *bad, *good[50:]])


def test_rows_that_break_a_rule_are_left_out_and_written_down(tmp_path):
    path = with_bad_rows(tmp_path / "a.parquet", 2)
    summary = shard(config(tmp_path, path, rows_per_file=40, max_reject_fraction=0.02))
    assert (summary["rows"], summary["rejected"], summary["rejects"]) == (
        100,
        2,
        {"uuid is not a valid UUID": 2},
    )
    assert uuids(tmp_path / "out") == [row.uuid for row in sample_rows(100)]
    assert listing(tmp_path / "out")[1:4] == [f"part-0000{n}-of-00003.parquet" for n in range(3)]
    told = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    reason = {"reason": "uuid is not a valid UUID", "excerpt": '"none"', "source": "text", "file": str(path)}
    assert told == [{**reason, "row": 50}, {**reason, "row": 51}]


def test_too_many_rejects_write_nothing_but_their_list(tmp_path):
    path = with_bad_rows(tmp_path / "a.parquet", 1)
    with pytest.raises(
        DataError, match=r"(?s)1 of 101 rows break a rule, .* is 0\.0; correct.*out\.rejects\.jsonl.*row 50"
    ):
        shard(config(tmp_path, path))
    assert listing(tmp_path) == ["a.parquet", "out.rejects.jsonl"]
    assert json.loads((tmp_path / "out.rejects.jsonl").read_text())["row"] == 50


def test_its_own_output_is_never_read(tree, capsys):
    shard(config(tree, tree))
    before = {path.name: path.read_bytes() for path in (tree / "out").glob("*.parquet")}
    again = shard(config(tree, tree))
    assert (again["reused"], again["rows"]) == (True, 2500)
    assert {path.name: path.read_bytes() for path in (tree / "out").glob("*.parquet")} == before
    assert "not reading the 3 files in" in capsys.readouterr().err
    with pytest.raises(DataError, match="nothing but the output folder"):
        shard(config(tree, tree / "out"))
    with pytest.raises(DataError, match="nothing but the output folder"):
        shard(config(tree, f"file://{tree}/out/*.parquet"))


@pytest.mark.parametrize("options", [{"rows_per_file": 999}, {"max_reject_fraction": 0.1}])
def test_another_call_does_not_touch_what_is_there(tree, options):
    shard(config(tree, tree / "in"))
    before = {path.name: path.read_bytes() for path in (tree / "out").iterdir()}
    with pytest.raises(ConfigError, match="holds the shards of other sources or options; name a new folder"):
        shard(config(tree, tree / "in", **options))
    with pytest.raises(ConfigError, match="holds the shards of other sources or options"):
        shard(config(tree, tree / "more"))
    assert {path.name: path.read_bytes() for path in (tree / "out").iterdir()} == before


def test_a_folder_with_anything_else_in_it_is_not_touched(tree):
    (tree / "out").mkdir()
    (tree / "out" / "mine.txt").write_text("precious")
    with pytest.raises(ConfigError, match=r"out: is not empty and holds no shards; name a new folder"):
        shard(config(tree, tree / "in"))
    assert listing(tree / "out") == ["mine.txt"]


def test_an_empty_folder_is_filled(tree):
    (tree / "out").mkdir()
    assert shard(config(tree, tree / "in"))["rows"] == 1900


def test_a_part_that_changed_is_not_taken_for_what_was_written(tree):
    shard(config(tree, tree / "in"))
    part = tree / "out" / "part-00001-of-00002.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(ConfigError, match=r"part-00001-of-00002\.parquet: is not as it was written"):
        shard(config(tree, tree / "in"))


def test_two_at_once_do_not_mix(tree):
    (tree / ".out.shard").mkdir()
    held = os.open(tree / ".out.shard", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        with pytest.raises(ConfigError, match="another process is writing it; wait for it"):
            shard(config(tree, tree / "in"))
    finally:
        os.close(held)
    assert shard(config(tree, tree / "in"))["rows"] == 1900


def test_files_without_a_row_are_told(tmp_path):
    with pytest.raises(DataError, match="no rows; correct the sources"):
        shard(config(tmp_path, write_rows(tmp_path / "a.parquet", [])))
    assert listing(tmp_path) == ["a.parquet"]


def test_shards_go_to_local_folders_only():
    with pytest.raises(ConfigError, match=r"^s3://b/x: shards are written to local folders"):
        shard(ShardConfig(output_dir="s3://k:s@b/x", sources=("x",)))


def test_a_full_disk_is_told_and_leaves_nothing(tree, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shard_module, "_flush", full)
    with pytest.raises(
        StorageError, match=r"out: cannot be written: .*No space left on device; mend the disk"
    ):
        shard(config(tree, tree / "in"))
    assert listing(tree) == ["in", "more"]


SLOW = """
import sys, time
from pathlib import Path
from onerec.config import load_config
from onerec.data.source import shard
parts = []
def pause(path):
    parts.append(path)
    if len(parts) == 2:
        print("two parts", flush=True)
        sys.stdin.read()
shard._flush = pause
shard.shard(load_config(Path(sys.argv[1])))
"""


def test_a_kill_leaves_no_parquet_file_and_the_next_run_is_whole(tree):
    asked = config(tree, tree, rows_per_file=500)
    (tree / "config.json").write_text(dump_config(asked))
    program = [sys.executable, "-c", SLOW, str(tree / "config.json")]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "two parts\n"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    found = [path for path in tree.rglob("*.parquet") if tree / "in" not in path.parents]
    assert found == [tree / "more" / "a.parquet"]
    assert len(list((tree / ".out.shard").iterdir())) >= 2
    assert len(find_files([str(tree)])) == 3
    (tree / ".out.shard" / "part-00099.tmp").write_text("left by a longer run")
    assert shard(asked)["rows"] == 2500
    assert listing(tree) == ["config.json", "in", "more", "out"]
    assert not list((tree / "out").glob("*.tmp"))


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = write_large(tmp_path / "a.parquet", megabytes=200)
    asked = config(tmp_path, path, rows_per_file=100_000)
    (tmp_path / "config.json").write_text(dump_config(asked))
    taken = peak_megabytes(
        "from onerec.config import load_config; from onerec.data.source.shard import shard",
        "shard(load_config(Path(argument)))",
        tmp_path / "config.json",
    )
    assert taken < 180
