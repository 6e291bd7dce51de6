"""The state of a loader: small, told without reading, and refused where the data is not what it was."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from onerec.config import Mixture, PreparedDataset
from onerec.data.loading.load import difference_of_files
from onerec.errors import DriftError
from tests.data.loaders import PACKS_PER_STEP, loader, prepared
from tests.data.rows import sample_rows, write_rows
from tests.data.stores import write_index_only


@pytest.fixture(scope="module")
def store_dir(tmp_path_factory, parquet_dir, tokenizer_dir):
    return prepared(tmp_path_factory.mktemp("store"), parquet_dir, tokenizer_dir)


def test_the_state_is_the_position_of_the_steps_given_out_whatever_was_fetched_ahead(store_dir):
    states = []
    for workers in (0, 2):
        running = loader(store_dir, num_workers=workers)
        steps = iter(running)
        for _ in range(3):
            next(steps)
        states.append(running.state_dict())
        steps.close()
    assert states[0] == states[1]
    assert (states[0]["epoch"], states[0]["next_pack"]) == (0, 3 * PACKS_PER_STEP)
    assert len(json.dumps(states[0])) < 1000


@pytest.mark.parametrize(
    ("order", "difference"),
    [
        ({"shuffle_seed": 8}, "seed is 8, not 7"),
        ({"max_length": 256}, "max_length is 256, not 128"),
        ({"local_shuffle_buffer_size": 60}, "local_shuffle_buffer_size is 60, not 50"),
    ],
)
def test_a_state_of_another_order_is_refused_with_the_difference(store_dir, order, difference):
    state = loader(store_dir).state_dict()
    with pytest.raises(DriftError, match=difference):
        loader(store_dir, **order).load_state_dict(state)


def test_a_state_of_another_selection_is_refused_with_the_difference(store_dir):
    state = loader(store_dir).state_dict()
    datasets = (PreparedDataset(name="rows", store_dir=store_dir, validation_fraction=0.1),)
    with pytest.raises(
        DriftError, match=r'validation is \{"dataset": null, "fractions": \[0.1\]\}, not None'
    ):
        loader(store_dir, datasets=datasets).load_state_dict(state)
    with pytest.raises(
        DriftError, match=r'mixture is \{"by": "source", .*"epochs": \{"chat": 2.0\}.*, not None'
    ):
        loader(store_dir, mixture=Mixture(epochs={"chat": 2})).load_state_dict(state)
    with pytest.raises(DriftError, match=r"group_tokens is 250, not None"):
        loader(store_dir, shuffle_memory_gigabytes=1e-6).load_state_dict(state)


def test_the_state_is_small_and_constant_however_far_it_is_and_however_much_is_mixed(tmp_path):
    names = [f"a source with a rather long name {number}" for number in range(500)]
    folder = write_index_only(
        tmp_path / "a", [64] * 1_000_000, sources=np.arange(1_000_000) % 500, names=names
    )
    mixture = Mixture(weights=dict.fromkeys(names, 1.0))
    datasets = (PreparedDataset(name="rows", store_dir=folder, validation_fraction=0.01),)
    running = loader(folder, datasets=datasets, mixture=mixture, local_shuffle_buffer_size=10**6)
    at_start = running.state_dict()
    running.load_state_dict({**at_start, "next_pack": 480_000})
    after = running.state_dict()
    assert {**after, "next_pack": 0} == at_start
    assert len(json.dumps(after)) <= 4096
    assert len(json.dumps(after)) - len(json.dumps(at_start)) == 5


def test_the_state_is_told_without_reading_anything(tmp_path):
    running = loader(write_index_only(tmp_path / "a", [64] * 100, sources=[0] * 100, names=["chat"]))
    state = running.state_dict()
    shutil.rmtree(tmp_path / "a")
    assert running.state_dict() == state


def test_data_that_changed_since_the_state_is_told_by_its_files(tmp_path, tokenizer_dir):
    for name in ("a", "b"):
        write_rows(tmp_path / "data" / f"{name}.parquet", sample_rows(7, start=ord(name)))
    before = loader(prepared(tmp_path / "store", tmp_path / "data", tokenizer_dir))
    state, files = before.state_dict(), before.files()
    assert [name for _, name, *_ in files] == ["a.parquet", "b.parquet"]
    (tmp_path / "data" / "b.parquet").rename(tmp_path / "data" / "c.parquet")
    write_rows(tmp_path / "data" / "b.parquet", sample_rows(2, start=900))
    now = loader(prepared(tmp_path / "store", tmp_path / "data", tokenizer_dir))
    with pytest.raises(DriftError, match="samples is 16, not 14"):
        now.load_state_dict(state)
    assert [line.split(":")[0] for line in difference_of_files(files, now.files())][:1] == [
        "1 file was added"
    ]


def test_a_state_of_other_data_is_refused_with_the_difference(store_dir, tmp_path, tokenizer_dir):
    write_rows(tmp_path / "data" / "a.parquet", sample_rows(7))
    other = prepared(tmp_path / "store", tmp_path / "data", tokenizer_dir)
    with pytest.raises(DriftError, match="samples is 7, not 120"):
        loader(other).load_state_dict(loader(store_dir).state_dict())


def test_a_state_beyond_the_epochs_is_refused(store_dir):
    running = loader(store_dir)
    state = [running.state_dict() for _ in running][-1]
    with pytest.raises(DriftError, match="num_epochs is 1; raise num_epochs"):
        loader(store_dir, num_epochs=1).load_state_dict(state)
    longer = loader(store_dir, num_epochs=3)
    longer.load_state_dict(state)
    assert sum(pack.samples for step in longer for pack in step.packs) == 120
