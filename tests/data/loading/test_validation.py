"""Validation packs are the same whatever the ranks, and never trained on."""

from __future__ import annotations

import pytest

from onerec.config import DataOrder, Dataset, PrepareConfig, PreparedDataset, Vocab
from onerec.data.loading.batch import FILLER
from onerec.data.loading.load import PackLoader
from onerec.data.loading.validation import open_validation
from onerec.data.preparation.prepare import prepare
from onerec.errors import ConfigError
from tests.data.matrix import seen
from tests.data.rows import sample_rows, text, write_rows
from tests.data.stores import order_of, write_index_only
from tests.data.tokens import CODES, LAYERS


@pytest.fixture(scope="module")
def stores(tmp_path_factory, tokenizer_dir):
    """Stores by name: "rows" has 120 rows; "apart" has 20, 5 of them the same, and 1 of another source."""
    folder = tmp_path_factory.mktemp("validation")
    rows = {
        "rows": sample_rows(120),
        "apart": [*sample_rows(20, start=115), text("ok", source="a0", number=500)],
    }
    for name, content in rows.items():
        write_rows(folder / name / "data" / "part.parquet", content)
        prepare(
            PrepareConfig(
                output_dir=str(folder / name / "store"),
                tokenizer_dir=str(tokenizer_dir),
                sources=(str(folder / name / "data"),),
                dataset=Dataset(sources="data", max_length=128),
                vocab=Vocab(itemic_layer_n=LAYERS, vocab_size_per_layer=CODES),
            )
        )
    return {name: str(folder / name / "store") for name in rows}


@pytest.fixture
def data(stores) -> DataOrder:
    rows = PreparedDataset(name="rows", store_dir=stores["rows"], validation_fraction=0.2)
    apart = PreparedDataset(name="apart", store_dir=stores["apart"])
    return order_of(rows, validation=apart, max_length=128, num_epochs=2)


def validation(data, *, rank=0, world_size=1, pad_to=None, max_packs=None):
    return open_validation(data, rank=rank, world_size=world_size, pad_to=pad_to, max_packs=max_packs)


def uuids(packs):
    return [uuid for pack in packs for uuid in pack.uuids]


def test_every_row_is_either_trained_on_or_evaluated(data):
    evaluated = uuids(validation(data))
    loader = PackLoader(data, rank=0, world_size=1, packs_per_step=1, pad_to=None)
    trained = uuids(pack for step in loader for pack in step.packs)
    apart = {row.uuid for row in [*sample_rows(20, start=115), text("ok", number=500)]}
    everything = {row.uuid for row in sample_rows(120)} | apart
    assert apart < set(evaluated)
    assert set(evaluated).isdisjoint(trained)
    assert set(evaluated) | set(trained) == everything
    assert len(trained) == 2 * len(set(trained))
    assert loader.account()["validation"]["samples"] == len(evaluated) == validation(data).samples


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_any_number_of_ranks_evaluates_the_same_packs(data, world_size):
    wanted = [seen(pack) for pack in validation(data)]
    ranks = [validation(data, rank=rank, world_size=world_size) for rank in range(world_size)]
    shares = [[seen(pack) for pack in rank] for rank in ranks]
    assert (
        {len(share) for share in shares} == {len(rank) for rank in ranks} == {-(-len(wanted) // world_size)}
    )
    packs = [pack for micro_step in zip(*shares, strict=True) for pack in micro_step]
    assert [pack for pack in packs if pack[0] != FILLER] == wanted
    assert [number for number, *_ in wanted] == list(range(ranks[0].total_packs))


def test_every_evaluation_reads_the_same_again(data):
    packs = validation(data)
    assert [seen(pack) for pack in packs] == [seen(pack) for pack in packs]


def test_a_limit_takes_the_first_packs(data):
    everything = [seen(pack) for pack in validation(data)]
    packs = validation(data, max_packs=3)
    assert [seen(pack) for pack in packs] == everything[:3]
    assert packs.total_packs == 3 < len(everything) == validation(data, max_packs=10**6).total_packs
    assert packs.samples == sum(len(uuids) for _, _, uuids in everything[:3])


def test_sources_are_those_of_the_validation_packs(data, stores):
    packs = validation(data)
    assert packs.sources == ("a0", "chat", "s0", "s1")
    [found] = {
        packs.sources[source]
        for pack in packs
        for source, uuid in zip(pack.document_sources.tolist(), pack.uuids, strict=True)
        if uuid == text("ok", number=500).uuid
    }
    assert found == "a0"


def test_packs_can_be_padded(data):
    assert {len(pack.input_ids_T) for pack in validation(data, pad_to=150)} == {150}
    with pytest.raises(ConfigError, match="pad_to 100 is below max_length 128"):
        validation(data, pad_to=100)


def test_without_validation_data_there_is_none(stores, tmp_path):
    assert (
        validation(order_of(PreparedDataset(name="rows", store_dir=stores["rows"]), max_length=128)) is None
    )
    few = write_index_only(tmp_path / "few", [3, 3], hashes=[5, 6])
    assert validation(order_of(PreparedDataset(name="few", store_dir=few, validation_fraction=0.001))) is None
