"""What a kill or a power loss leaves of an index or a plan is made again, and neither appears in parts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from onerec.data.order.plan import ARRAYS, PlanKey, open_plan, plan_epoch, plan_paths
from onerec.data.preparation.index import Index, save_index
from onerec.data.preparation.prepare import prepare
from onerec.data.store.store import INDEX_ARRAYS, Store
from onerec.errors import DataError

KEY = PlanKey(fingerprint="data", seed=3, max_length=64, local_shuffle_buffer_size=50)
LENGTHS = np.arange(1, 61, dtype=np.int32)


def index_of(length):
    """An index of one sample of this many tokens."""
    return Index(
        lengths=np.array([length], dtype=np.int32),
        trained=np.array([1], dtype=np.int32),
        sources=np.array([0], dtype=np.int32),
        uuid_hashes=np.array([7], dtype=np.uint64),
        file_starts=np.array([0, 1], dtype=np.int64),
    )


@pytest.fixture
def events(monkeypatch):
    """Names of what is flushed to the disk and renamed, in that order."""
    told, fsync, rename = [], os.fsync, Path.rename

    def flush(descriptor):
        told.append(("flushed", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        fsync(descriptor)

    def move(source, target):
        told.append(("renamed", Path(target).name))
        return rename(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "rename", move)
    return told


@pytest.mark.parametrize("harm", ["no index", "an empty array", "half an array"])
def test_a_store_whose_index_is_torn_is_made_again_of_its_finished_files(make_config, parquet_dir, harm):
    config = make_config(parquet_dir)
    prepare(config)
    [folder] = Path(config.output_dir).glob("index-*")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    lengths = folder / "lengths.npy"
    if harm == "no index":
        shutil.rmtree(folder)
    else:
        os.truncate(lengths, 0 if harm == "an empty array" else lengths.stat().st_size // 2)
    summary = prepare(config)
    assert not summary["reused"]
    assert summary["preparation"]["files_tokenised"] == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert prepare(config)["reused"]


def test_an_empty_array_of_an_index_is_told_with_place_and_remedy(make_config, parquet_dir):
    config = make_config(parquet_dir)
    prepare(config)
    [lengths] = Path(config.output_dir).glob("index-*/lengths.npy")
    os.truncate(lengths, 0)
    with pytest.raises(DataError, match=r"lengths\.npy: cannot be read: .*; prepare the dataset again"):
        Store(config.output_dir)


def test_an_index_is_on_the_disk_before_it_appears(tmp_path, events):
    save_index(index_of(5), tmp_path / "index-a")
    appeared = events.index(("renamed", "index-a"))
    flushed = [name for what, name in events[:appeared] if what == "flushed"]
    assert sorted(flushed[:-1]) == sorted(f"{name}.npy" for name in INDEX_ARRAYS)
    assert flushed[-1].startswith(".index-a.")
    assert events[appeared + 1 :] == [("flushed", tmp_path.name)]


def test_an_index_takes_the_place_of_another_of_its_name_and_leaves_nothing_beside(tmp_path):
    save_index(index_of(5), tmp_path / "index-a")
    save_index(index_of(6), tmp_path / "index-a")
    assert np.load(tmp_path / "index-a" / "lengths.npy").tolist() == [6]
    assert [path.name for path in tmp_path.iterdir()] == ["index-a"]


def test_the_old_index_is_removed_only_when_the_new_one_is_in_its_place(tmp_path, monkeypatch):
    folder, rmtree, seen = tmp_path / "index-a", shutil.rmtree, []
    save_index(index_of(5), folder)

    def remove(path, **options):
        seen.append(np.load(folder / "lengths.npy").tolist() if Path(path) != folder else "the index")
        rmtree(path, **options)

    monkeypatch.setattr(shutil, "rmtree", remove)
    save_index(index_of(6), folder)
    assert seen == [[6]]


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("harm", ["empty", "half", "gone", "shorter"])
def test_a_torn_plan_is_made_again(tmp_path, name, harm):
    folders = plan_paths(tmp_path, LENGTHS, KEY, epochs=2)
    array, other = folders[0] / f"{name}.npy", (folders[1] / "order.npy").stat()
    if harm == "gone":
        array.unlink()
    elif harm == "shorter":
        np.save(array, np.load(array)[:-1])
    else:
        os.truncate(array, 0 if harm == "empty" else array.stat().st_size // 2)
    assert plan_paths(tmp_path, LENGTHS, KEY, epochs=2) == folders
    plan, wanted = open_plan(folders[0]), plan_epoch(LENGTHS, KEY, 0)
    assert all(np.array_equal(getattr(plan, one), getattr(wanted, one)) for one in ARRAYS)
    assert (folders[1] / "order.npy").stat().st_mtime_ns == other.st_mtime_ns
    assert {path.name for path in tmp_path.iterdir()} == {".lock", *(folder.name for folder in folders)}


def test_a_plan_is_on_the_disk_before_it_appears(tmp_path, events):
    [folder] = plan_paths(tmp_path, LENGTHS, KEY, epochs=1)
    appeared = events.index(("renamed", folder.name))
    flushed = [name for what, name in events[:appeared] if what == "flushed"]
    assert flushed[:-1] == [f"{name}.npy" for name in ARRAYS]
    assert flushed[-1].startswith(f".{folder.name}.")


def test_an_empty_plan_is_whole_and_kept(tmp_path):
    def nothing(_epoch):
        return np.zeros(0, dtype=np.uint32)

    [folder] = plan_paths(tmp_path, LENGTHS, KEY, epochs=1, draw=nothing)
    written = (folder / "order.npy").stat().st_mtime_ns
    plan_paths(tmp_path, LENGTHS, KEY, epochs=1, draw=nothing)
    assert len(open_plan(folder)) == 0
    assert (folder / "order.npy").stat().st_mtime_ns == written
