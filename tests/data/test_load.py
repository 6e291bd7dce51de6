"""Any number of ranks and workers reads the same packs in the same steps, and any stop goes on exactly."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from onerec.config import DataOrder, Dataset, Mixture, PrepareConfig, PreparedDataset, Vocab
from onerec.data.batch import FILLER, Pack
from onerec.data.label import labels_of
from onerec.data.load import PackLoader, Slots, difference_of_files
from onerec.data.prepare import prepare
from onerec.data.store import Store
from onerec.errors import ConfigError, DriftError
from tests.data.rows import sample_rows, text, write_rows
from tests.data.stores import write_index_only
from tests.data.tokens import CODES, LAYERS

PACKS_PER_STEP = 5
MAX_LENGTH = 128


def prepared(folder: Path, sources: Path, tokenizer_dir: Path) -> str:
    prepare(
        PrepareConfig(
            output_dir=str(folder),
            tokenizer_dir=str(tokenizer_dir),
            sources=(str(sources),),
            dataset=Dataset(sources=str(sources), max_length=MAX_LENGTH),
            vocab=Vocab(itemic_layer_n=LAYERS, vocab_size_per_layer=CODES),
        )
    )
    return str(folder)


@pytest.fixture(scope="module")
def store_dir(tmp_path_factory, parquet_dir, tokenizer_dir):
    return prepared(tmp_path_factory.mktemp("store"), parquet_dir, tokenizer_dir)


def loader(store_dir, *, rank=0, world_size=1, packs_per_step=PACKS_PER_STEP, pad_to=None, **order):
    settings = {"max_length": MAX_LENGTH, "num_epochs": 2, "num_workers": 0, "local_shuffle_buffer_size": 50}
    datasets = (PreparedDataset(name="rows", store_dir=store_dir),)
    data = DataOrder(**{**settings, "datasets": datasets, "shuffle_seed": 7, **order})
    return PackLoader(data, rank=rank, world_size=world_size, packs_per_step=packs_per_step, pad_to=pad_to)


def content(pack: Pack) -> tuple:
    """All of a pack as values that compare."""
    values = [getattr(pack, field.name) for field in fields(pack)]
    return tuple(tuple(value.tolist()) if isinstance(value, torch.Tensor) else value for value in values)


def global_steps(ranks: list[PackLoader]) -> list[list[tuple]]:
    """Packs of each step over all ranks in their global order, fillers left out."""
    steps = []
    for shares in zip(*ranks, strict=True):
        micro_steps = zip(*(share.packs for share in shares), strict=True)
        packs = [pack for micro_step in micro_steps for pack in micro_step]
        numbers = [pack.pack for pack in packs]
        assert numbers == sorted(numbers, key=lambda number: (number == FILLER, number))
        steps.append([content(pack) for pack in packs if pack.pack != FILLER])
    return steps


@pytest.fixture(scope="module")
def reference(store_dir):
    return global_steps([loader(store_dir)])


@pytest.mark.parametrize("num_workers", [0, 1, 2])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_any_world_and_any_workers_read_the_same_global_steps(store_dir, reference, world_size, num_workers):
    ranks = [
        loader(store_dir, rank=rank, world_size=world_size, num_workers=num_workers)
        for rank in range(world_size)
    ]
    assert global_steps(ranks) == reference


def test_an_epoch_holds_every_sample_once_and_epochs_differ(store_dir):
    runs = loader(store_dir)
    packs = [pack for step in runs for pack in step.packs if pack.pack != FILLER]
    assert [pack.pack for pack in packs] == list(range(runs.total_packs))
    half = next(n for n in range(len(packs)) if sum(pack.samples for pack in packs[:n]) == 120)
    epochs = [[pack.uuids for pack in part] for part in (packs[:half], packs[half:])]
    everything = sorted(row.uuid for row in sample_rows(120))
    assert [sorted(uuid for uuids in epoch for uuid in uuids) for epoch in epochs] == [everything] * 2
    assert epochs[0] != epochs[1]


def test_a_pack_holds_its_samples_one_after_the_other(store_dir):
    store = Store(store_dir)
    by_uuid = {store.sample(n).uuid: store.sample(n) for n in range(len(store))}
    runs = loader(store_dir)
    for step in runs:
        for pack in step.packs:
            samples = [by_uuid[uuid] for uuid in pack.uuids]
            if pack.pack == FILLER:
                continue
            lengths = [len(sample.input_ids) for sample in samples]
            assert pack.input_ids_T.tolist() == [n for sample in samples for n in sample.input_ids.tolist()]
            assert pack.labels_T.tolist() == [
                n for sample in samples for n in labels_of(sample.input_ids, sample.spans).tolist()
            ]
            assert pack.position_ids_T.tolist() == [n for length in lengths for n in range(length)]
            assert pack.cu_seqlens.tolist() == [0, *np.cumsum(lengths).tolist()]
            assert pack.document_sources.tolist() == [sample.source for sample in samples]
            assert (pack.max_seqlen, pack.samples, pack.tokens) == (max(lengths), len(samples), sum(lengths))
            assert pack.trained_tokens == sum(
                store.trained[n] for n in range(len(store)) if store.sample(n).uuid in pack.uuids
            )
            dtypes = (pack.input_ids_T.dtype, pack.labels_T.dtype, pack.cu_seqlens.dtype)
            assert dtypes == (torch.int64, torch.int64, torch.int32)
    assert runs.sources == ("chat", "s0", "s1")


@pytest.mark.parametrize("world_size", [1, 3])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stop_at_any_step_goes_on_exactly_in_another_world(store_dir, reference, world_size, num_workers):
    running = loader(store_dir, world_size=2)
    states = [running.state_dict(), *(running.state_dict() for _ in running)]
    assert len(states) == running.total_steps + 1
    stops = range(len(states)) if num_workers == 0 else (0, 3, len(states) - 1)
    for step in stops:
        ranks = [
            loader(store_dir, rank=rank, world_size=world_size, num_workers=num_workers)
            for rank in range(world_size)
        ]
        for rank in ranks:
            rank.load_state_dict(json.loads(json.dumps(states[step])))
            assert rank.state_dict() == states[step]
        assert global_steps(ranks) == reference[step:]


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


def test_a_stop_may_be_followed_by_steps_of_another_size(store_dir, reference):
    running = loader(store_dir)
    steps = iter(running)
    next(steps)
    going_on = loader(store_dir, packs_per_step=2)
    going_on.load_state_dict(running.state_dict())
    rest = [pack for step in global_steps([going_on]) for pack in step]
    assert rest == [pack for step in reference[1:] for pack in step]


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


def test_several_datasets_are_read_as_one(store_dir, tmp_path, tokenizer_dir):
    write_rows(tmp_path / "data" / "a.parquet", sample_rows(30, start=500))
    other = prepared(tmp_path / "store", tmp_path / "data", tokenizer_dir)
    datasets = tuple(
        PreparedDataset(name=name, store_dir=folder)
        for name, folder in (("rows", store_dir), ("more", other))
    )
    running = loader(store_dir, datasets=datasets, num_workers=2)
    read = Counter(uuid for step in running for pack in step.packs for uuid in pack.uuids)
    assert read == dict.fromkeys((row.uuid for row in [*sample_rows(120), *sample_rows(30, start=500)]), 2)
    told = running.account()["datasets"]
    assert {name: facts["samples_per_epoch"] for name, facts in told.items()} == {
        "rows": [120, 120],
        "more": [30, 30],
    }


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


@pytest.mark.parametrize(("pad_to", "length"), [(None, 1), (MAX_LENGTH, MAX_LENGTH), (200, 200)])
def test_ranks_without_a_pack_get_fillers_that_train_nothing(tmp_path, tokenizer_dir, pad_to, length):
    write_rows(tmp_path / "data" / "a.parquet", [text("ok")])
    folder = prepared(tmp_path / "store", tmp_path / "data", tokenizer_dir)
    ranks = [
        loader(folder, rank=rank, world_size=3, packs_per_step=4, pad_to=pad_to, num_epochs=1)
        for rank in range(3)
    ]
    steps = [list(rank) for rank in ranks]
    assert [len(step) for step in steps] == [1, 1, 1]
    packs = [pack for [step] in steps for pack in step.packs]
    assert [pack.pack for pack in packs] == [0, FILLER, FILLER, FILLER, FILLER, FILLER]
    pad = Store(folder).pad_id
    for pack in packs[1:]:
        assert content(pack) == (
            (pad,) * length,
            (-100,) * length,
            tuple(range(length)),
            (0, length),
            length,
            (-1,),
            0,
            0,
            0,
            (),
            FILLER,
        )


def test_padding_is_a_document_of_its_own_at_the_end(store_dir, reference):
    pad = Store(store_dir).pad_id
    padded = [content(pack) for step in loader(store_dir, pad_to=MAX_LENGTH) for pack in step.packs]
    plain = [pack for step in reference for pack in step]
    for (ids, labels, positions, borders, longest, sources, *rest), unpadded in zip(
        padded, plain, strict=False
    ):
        tokens = len(unpadded[0])
        padding = MAX_LENGTH - tokens
        assert ids == unpadded[0] + (pad,) * padding
        assert labels == unpadded[1] + (-100,) * padding
        assert positions == unpadded[2] + tuple(range(padding))
        assert borders == (unpadded[3] + (MAX_LENGTH,) if padding else unpadded[3])
        assert longest == max(unpadded[4], padding)
        assert sources == (unpadded[5] + (-1,) if padding else unpadded[5])
        assert tuple(rest) == unpadded[6:]


def test_reading_draws_nothing_from_the_trainers_generator(store_dir):
    torch.manual_seed(3)
    wanted = torch.random.get_rng_state()
    next(iter(loader(store_dir, num_workers=1)))
    assert torch.equal(torch.random.get_rng_state(), wanted)


def test_packs_too_small_for_the_store_are_refused(store_dir):
    with pytest.raises(
        ConfigError, match=r"longest sample has \d+ tokens, max_length is 32; raise max_length"
    ):
        loader(store_dir, max_length=32)
    with pytest.raises(ConfigError, match="pad_to 64 is below max_length 128"):
        loader(store_dir, pad_to=64)


@pytest.mark.parametrize(
    ("slots", "wanted"),
    [
        (Slots(start=0, total=5, packs_per_step=2, rank=0, world_size=1), [0, 1, 2, 3, 4, -1]),
        (Slots(start=0, total=5, packs_per_step=2, rank=1, world_size=2), [1, 3, -1]),
        (Slots(start=0, total=5, packs_per_step=3, rank=1, world_size=2), [1, -1, 4, -1]),
        (Slots(start=4, total=5, packs_per_step=3, rank=0, world_size=2), [4, -1]),
        (Slots(start=0, total=2, packs_per_step=1, rank=3, world_size=4), [-1, -1]),
        (Slots(start=5, total=5, packs_per_step=3, rank=0, world_size=2), []),
    ],
)
def test_the_slots_of_a_rank_are_its_share_of_each_step(slots, wanted):
    assert (list(slots), len(slots)) == (wanted, len(wanted))
