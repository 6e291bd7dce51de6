"""Several stores as one."""

from __future__ import annotations

import numpy as np
import pytest

from onerec.config import Dataset, PrepareConfig, PreparedDataset, Vocab
from onerec.data.preparation.prepare import prepare
from onerec.data.store.pool import Pool, difference_of_files
from onerec.data.store.store import Store
from onerec.errors import DataError
from tests.data.rows import sample_rows, text, write_rows
from tests.data.stores import write_index_only
from tests.data.tokens import CODES, LAYERS


@pytest.fixture(scope="module")
def datasets(tmp_path_factory, tokenizer_dir):
    """Two prepared datasets that share one of their sources."""
    folder = tmp_path_factory.mktemp("pool")
    rows = {
        "first": sample_rows(30),
        "second": [text("ok the", source="a0", number=99), *sample_rows(9, start=50)],
    }
    for name, content in rows.items():
        write_rows(folder / name / "data" / "part.parquet", content)
        prepare(
            PrepareConfig(
                output_dir=str(folder / name / "store"),
                tokenizer_dir=str(tokenizer_dir),
                sources=(str(folder / name / "data"),),
                dataset=Dataset(sources="data", max_length=256),
                vocab=Vocab(itemic_layer_n=LAYERS, vocab_size_per_layer=CODES),
            )
        )
    return tuple(PreparedDataset(name=name, store_dir=str(folder / name / "store")) for name in rows)


def test_one_dataset_is_taken_as_it_is(datasets):
    pool, store = Pool(datasets[:1]), Store(datasets[0].store_dir)
    assert (pool.fingerprint, pool.sources, len(pool)) == (store.fingerprint, store.sources, len(store))
    assert isinstance(pool.lengths, np.memmap)
    assert pool.lengths.tolist() == store.lengths.tolist()
    assert pool.sources_of.tolist() == store.sources_of.tolist()


def test_samples_of_several_datasets_are_numbered_through(datasets):
    pool = Pool(datasets)
    stores = [Store(dataset.store_dir) for dataset in datasets]
    assert stores[0].sources != pool.sources == ("a0", "chat", "s0", "s1")
    everything = [(store, number) for store in stores for number in range(len(store))]
    assert len(pool) == len(everything) == 40
    for number, (store, within) in enumerate(everything):
        ours, theirs = pool.sample(number), store.sample(within)
        assert (ours.uuid, ours.input_ids.tolist()) == (theirs.uuid, theirs.input_ids.tolist())
        assert pool.sources[ours.source] == store.sources[theirs.source]
        assert pool.sources_of[number] == ours.source
        assert pool.lengths[number] == len(ours.input_ids)
        assert pool.trained[number] == store.trained[within]


def test_the_fingerprint_of_several_depends_on_all_of_them_in_order(datasets):
    prints = [Pool(some).fingerprint for some in (datasets, datasets[::-1], datasets[:1], datasets[1:])]
    assert len(set(prints)) == 4
    assert Pool(datasets).fingerprint == prints[0]


@pytest.mark.parametrize("different", [{"pad_id": 7}, {"itemic_ids": (1, 2)}])
def test_stores_of_different_tokenizers_do_not_go_together(tmp_path, different):
    folders = [write_index_only(tmp_path / "a", [3]), write_index_only(tmp_path / "b", [3], **different)]
    datasets = [PreparedDataset(name=str(n), store_dir=folder) for n, folder in enumerate(folders)]
    with pytest.raises(
        DataError, match=r"/b: prepared with another tokenizer than .*/a .*with one tokenizer"
    ):
        Pool(datasets)


@pytest.mark.parametrize(
    ("locations", "names"),
    [
        (["/data/a.parquet"], ["a.parquet"]),
        (["/data/one/a.parquet", "/data/one/b.parquet"], ["a.parquet", "b.parquet"]),
        (["/data/one/a.parquet", "/data/once/a.parquet"], ["one/a.parquet", "once/a.parquet"]),
        (["s3://b/x/a.parquet", "s3://b/y.parquet"], ["x/a.parquet", "y.parquet"]),
    ],
)
def test_files_are_told_below_the_folder_that_they_share(tmp_path, locations, names):
    entries = [{"file": location, "tokens": "t", "size": 5, "footer": "f"} for location in locations]
    store_dir = write_index_only(tmp_path / "a", [3], files=entries)
    pool = Pool([PreparedDataset(name="rows", store_dir=store_dir)])
    assert pool.files() == [["rows", name, 5, "f"] for name in names]


def test_the_difference_of_files_names_what_was_added_removed_and_changed():
    before = [["rows", f"{n}.parquet", 10, "f"] for n in range(6)]
    now = [["rows", "0.parquet", 10, "f"], ["rows", "1.parquet", 11, "f"], ["chat", "1.parquet", 10, "f"]]
    assert difference_of_files(before, now) == [
        "1 file was added: chat: 1.parquet",
        "4 files were removed: rows: 2.parquet, rows: 3.parquet, rows: 4.parquet and 1 more",
        "1 file was changed: rows: 1.parquet",
    ]
    assert difference_of_files(before, before[::-1]) == []
