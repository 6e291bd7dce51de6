"""Any number of ranks and workers reads the same packs in the same steps, and any stop goes on exactly."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
import torch

from onerec.config import PreparedDataset
from onerec.data.loading.batch import FILLER, Kinds, Pack
from onerec.data.loading.load import PackLoader
from onerec.data.store.store import Store
from onerec.data.text.label import labels_of
from onerec.errors import ConfigError
from onerec.vocab import item_text
from tests.data.loaders import MAX_LENGTH, loader, prepared
from tests.data.rows import sample_rows, text, write_rows
from tests.data.tokens import LAYERS


@pytest.fixture(scope="module")
def store_dir(tmp_path_factory, parquet_dir, tokenizer_dir):
    return prepared(tmp_path_factory.mktemp("store"), parquet_dir, tokenizer_dir)


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


def test_a_stop_may_be_followed_by_steps_of_another_size(store_dir, reference):
    running = loader(store_dir)
    steps = iter(running)
    next(steps)
    going_on = loader(store_dir, packs_per_step=2)
    going_on.load_state_dict(running.state_dict())
    rest = [pack for step in global_steps([going_on]) for pack in step]
    assert rest == [pack for step in reference[1:] for pack in step]


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
            (),
            (),
            (),
            ([0, 0],),
            ([0, 0],),
        )


@pytest.fixture(scope="module")
def itemic_store_dir(tmp_path_factory, tokenizer_dir):
    """Rows of three sources that train itemic tokens and text."""
    folder = tmp_path_factory.mktemp("itemic")
    rows = [
        text("the ", item_text((0,) * LAYERS), " ok", source=f"s{number % 3}", number=number)
        for number in range(12)
    ]
    write_rows(folder / "data" / "a.parquet", rows)
    return prepared(folder / "store", folder / "data", tokenizer_dir)


def test_workers_find_out_which_positions_are_trained_and_what_they_are(itemic_store_dir):
    first, last = Store(itemic_store_dir).itemic_ids
    for step in loader(itemic_store_dir, num_workers=1, pad_to=MAX_LENGTH, num_epochs=1):
        for pack in step.packs:
            if pack.pack == FILLER:
                continue
            sources_T = pack.document_sources.repeat_interleave(pack.cu_seqlens.diff().long())
            trained_T = pack.labels_T != -100
            assert torch.equal(pack.trained_N, trained_T.nonzero()[:, 0])
            assert torch.equal(pack.trained_labels_N, pack.labels_T[trained_T])
            assert pack.trained_tokens == len(pack.trained_N)
            is_itemic_T = (pack.labels_T >= first) & (pack.labels_T <= last)
            assert torch.equal(pack.cells_N, (2 * sources_T + is_itemic_T)[trained_T])
            assert 0 < is_itemic_T.sum() < trained_T.sum(), "the rows train itemic tokens and text"


def test_workers_count_what_is_read_and_trained_of_each_source(itemic_store_dir):
    running = loader(itemic_store_dir, num_workers=1, pad_to=MAX_LENGTH, num_epochs=1)
    assert running.sources == ("s0", "s1", "s2")
    for step in running:
        for pack in step.packs:
            read, trained = [[0, 0] for _ in running.sources], [[0, 0] for _ in running.sources]
            for source, length in zip(
                pack.document_sources.tolist(), pack.cu_seqlens.diff().tolist(), strict=True
            ):
                if source >= 0:
                    read[source][0] += length
                    read[source][1] += 1
            for cell in pack.cells_N.tolist():
                trained[cell // 2][cell % 2] += 1
            assert (pack.read_S2.tolist(), pack.trained_S2.tolist()) == (read, trained)
            assert pack.read_S2.sum(0).tolist() == [pack.tokens, pack.samples]
            assert pack.trained_S2.dtype == pack.read_S2.dtype == torch.int64


@pytest.mark.parametrize(("label", "cell"), [(19, 6), (20, 7), (25, 7), (29, 7), (30, 6)])
def test_the_first_and_the_last_itemic_id_are_itemic_and_their_neighbours_are_text(label, cell):
    kinds = Kinds(num_sources=5, itemic_ids=range(20, 30))
    assert kinds.cells_of(np.array([3], np.int32), np.array([label], np.int32)).tolist() == [cell]


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
