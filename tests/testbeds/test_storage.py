"""What every storage must do, at real servers: `python -m pytest -m integration tests/testbeds`."""

from __future__ import annotations

import json

import pytest

from onerec.data.preparation.prepare import prepare
from onerec.data.source.read import footer, records, sample_records
from onerec.data.source.shard import shard
from onerec.data.source.sources import find_files, shown
from onerec.data.store.store import Store
from onerec.errors import DataError
from tests.data.flaky import hurried
from tests.data.rows import sample_rows, write_rows
from tests.data.source.test_shard import config as shard_config
from tests.data.source.test_shard import uuids

pytestmark = pytest.mark.integration


@pytest.fixture
def put_all(storage, parquet_dir):
    """Three files, one of them deeper, and what is no data; the local files in the same order."""
    files = sorted(parquet_dir.iterdir())
    for name, file in zip(
        ("day/a.parquet", "day/b-1.parquet", "day/deep/c [x] %41.parquet"), files, strict=True
    ):
        storage.put(file, name)
    storage.put(files[0], "day/_temporary/d.parquet")
    storage.put(files[0], "day/notes.txt")
    return files


def contents(files):
    return [(file.size, file.footer) for file in files]


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("day", ["a", "b-1", "deep/c [x] %41"]),
        ("day/*.parquet", ["a", "b-1"]),
        ("day/?.parquet", ["a"]),
        ("day/[b-z]-?.parquet", ["b-1"]),
        ("day/**/*.parquet", ["a", "b-1", "deep/c [x] %41"]),
        ("day/deep/c*%41.parquet", ["deep/c [x] %41"]),
        ("day/deep/c [x] %41.parquet", ["deep/c [x] %41"]),
    ],
)
def test_files_folders_and_globs_lead_to_their_files(storage, put_all, source, wanted):
    files = find_files([storage.url(source)])
    assert [file.location for file in files] == [storage.url(f"day/{name}.parquet") for name in wanted]
    names = ["a", "b-1", "deep/c [x] %41"]
    local = dict(zip(names, find_files(map(str, put_all)), strict=True))
    assert contents(files) == contents(local[name] for name in wanted)


def test_a_file_list_reads_relative_entries_from_its_own_folder(storage, put_all, tmp_path, capsys):
    entries = ["a.parquet", "../day/b-1.parquet", "./deep/c [x] %41.parquet", storage.url("day/a.parquet")]
    (tmp_path / "list.json").write_text(json.dumps(entries))
    files = find_files([storage.put(tmp_path / "list.json", "day/list.json")])
    assert [file.location for file in files] == [
        storage.url(f"day/{name}.parquet") for name in ("a", "b-1", "deep/c [x] %41")
    ]
    twice = shown(storage.url("day/a.parquet"))
    told = f"1 file is named more than once in `sources` and read once: {twice}\n"
    assert capsys.readouterr().err == told


def test_rows_footers_and_samples_are_those_of_the_local_file(storage, put_all):
    local, remote = str(put_all[0]), storage.url("day/a.parquet")
    assert footer(remote) == footer(local)
    assert [record.values for record in records(remote)] == [record.values for record in records(local)]
    assert [record.values for record in sample_records(remote, 3)] == [
        record.values for record in sample_records(local, 3)
    ]


def test_preparing_gives_the_fingerprint_of_local_copies(storage, parquet_dir, make_config, tmp_path):
    for file in parquet_dir.iterdir():
        storage.put(file, f"data/{file.name}")
    prepare(make_config(parquet_dir))
    local = Store(tmp_path / "prepared")
    remote_config = make_config(storage.url("data")).model_copy(
        update={"output_dir": str(tmp_path / "remote")}
    )
    prepare(remote_config)
    remote = Store(tmp_path / "remote")
    assert remote.fingerprint == local.fingerprint
    assert remote.lengths.tolist() == local.lengths.tolist()
    assert prepare(remote_config)["reused"] is True
    assert all("secret" not in path.read_text() for path in (tmp_path / "remote").glob("*.json*"))


def test_shards_of_remote_files_hold_their_rows(storage, put_all, tmp_path):
    shard(shard_config(tmp_path, storage.url("day"), rows_per_file=50))
    wanted = [uuid for file in put_all for uuid in uuids(file)]
    assert uuids(tmp_path / "out" / "file_list.json") == wanted


@pytest.mark.parametrize("source", ["nowhere", "nowhere/*.parquet", "day/none-*.parquet", "nowhere.json"])
def test_what_is_missing_is_told_at_once(storage, put_all, source, capfd):
    slept = []
    with pytest.raises(DataError, match=r"no such file or folder|no parquet files there") as told:
        find_files([storage.url(source)], patience=hurried(slept))
    assert str(told.value).startswith(shown(storage.url(source)))
    assert (slept, "; try " in capfd.readouterr().err) == ([], False)


def test_what_is_no_parquet_is_told_at_once(storage, tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"uuid,source\n" * 9)
    url = storage.put(tmp_path / "a.parquet", "a.parquet")
    slept = []
    with pytest.raises(DataError, match="it is no parquet at all"):
        find_files([url], patience=hurried(slept))
    with pytest.raises(DataError, match="cannot be read as parquet"):
        list(records(url, patience=hurried(slept)))
    assert slept == []


def test_many_row_groups_are_read_in_order(storage, tmp_path):
    path = write_rows(tmp_path / "a.parquet", sample_rows(3000), row_group_size=250)
    url = storage.put(path, "a.parquet")
    assert uuids(url) == [row.uuid for row in sample_rows(3000)]
