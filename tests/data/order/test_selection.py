"""Which samples a stage trains on, which it is evaluated on, and the packs of both."""

from __future__ import annotations

import numpy as np
import pytest

from onerec.config import Mixture, PreparedDataset
from onerec.data.order import plan as plan_module
from onerec.data.order.holdout import held_out
from onerec.data.order.plan import open_plan, plan_epoch
from onerec.data.order.selection import Selection, plan_training, plan_validation, training_key
from onerec.data.store.pool import Pool
from onerec.errors import ConfigError
from tests.data.stores import order_of, write_index_only

LENGTHS = np.random.default_rng(0).integers(1, 65, 400).astype(np.int32)
SOURCES = np.arange(400) % 3 == 0
NAMES = ("often", "seldom")


@pytest.fixture
def folder(tmp_path):
    """Folder of the stores that `dataset` writes."""
    return tmp_path


def dataset(folder, name="rows", *, count=400, first=0, fraction=0.0):
    store_dir = folder / name
    if not store_dir.exists():
        write_index_only(
            store_dir,
            LENGTHS[:count],
            sources=SOURCES[:count],
            names=NAMES,
            hashes=np.arange(first, first + count),
        )
    return PreparedDataset(name=name, store_dir=str(store_dir), validation_fraction=fraction)


def samples_of(planned):
    """Sorted samples of each epoch."""
    return [np.sort(open_plan(path).samples).tolist() for path in planned.paths]


def planned(data):
    return plan_training(Pool(data.datasets), data)


def test_a_plain_stage_has_the_plain_plan(folder):
    data = order_of(dataset(folder), num_epochs=2)
    result = planned(data)
    plain = [plan_epoch(LENGTHS, result.key, epoch) for epoch in range(2)]
    assert (result.key.selection, result.key.group_tokens) == ("", None)
    for path, wanted in zip(result.paths, plain, strict=True):
        plan = open_plan(path)
        assert [plan.pack(n).tolist() for n in range(len(plan))] == [
            wanted.pack(n).tolist() for n in range(len(wanted))
        ]


def test_held_out_samples_are_evaluated_and_never_trained_on(folder):
    data = order_of(dataset(folder, fraction=0.2), num_epochs=3)
    held = np.flatnonzero(held_out(np.arange(400, dtype=np.uint64), 0.2)).tolist()
    assert 0 < len(held) < 400
    assert samples_of(plan_validation(data)) == [held]
    assert samples_of(planned(data)) == [sorted(set(range(400)) - set(held))] * 3


def test_a_later_stage_with_other_data_and_seed_holds_the_same_rows_out(folder):
    first = order_of(dataset(folder, fraction=0.2))
    later = order_of(dataset(folder, "more", count=300, first=100, fraction=0.2), shuffle_seed=99)
    evaluated = samples_of(plan_validation(first))[0]
    trained = [number + 100 for number in samples_of(planned(later))[0]]
    assert set(evaluated).isdisjoint(trained)


def test_rows_of_the_validation_dataset_are_never_trained_on(folder):
    apart = dataset(folder, "apart", count=50, first=380)
    data = order_of(dataset(folder), validation=apart)
    assert samples_of(planned(data)) == [list(range(380))]
    assert samples_of(plan_validation(data)) == [list(range(400, 450))]


def test_what_one_dataset_holds_out_no_other_dataset_of_the_stage_trains_on(folder):
    holding, copy = dataset(folder, "holding", fraction=0.2), dataset(folder, "copy", count=200)
    data = order_of(holding, copy)
    hashes = np.concatenate([np.arange(400), np.arange(200)]).astype(np.uint64)
    evaluated, trained = samples_of(plan_validation(data))[0], samples_of(planned(data))[0]
    assert len(evaluated) > 40
    assert not set(hashes[evaluated]) & set(hashes[trained])
    left_out = Selection(Pool(data.datasets), data).kept()[1]
    assert (left_out.held_out, left_out.in_validation) == (0, np.count_nonzero(hashes[evaluated] < 200))


def test_validation_packs_do_not_depend_on_the_seed_of_the_stage(folder):
    rows = dataset(folder, fraction=0.2)
    keys = [plan_validation(order_of(rows, shuffle_seed=seed, num_epochs=seed)).key for seed in (1, 2)]
    assert keys[0] == keys[1]


def test_without_validation_data_nothing_is_evaluated(folder):
    assert plan_validation(order_of(dataset(folder))) is None


def test_a_mixture_of_sources_is_read_of_training_samples_only(folder):
    mixture = Mixture(epochs={"seldom": 0.5, "often": 2})
    data = order_of(dataset(folder, fraction=0.2), mixture=mixture, num_epochs=2)
    kept = ~held_out(np.arange(400, dtype=np.uint64), 0.2)
    epochs = samples_of(planned(data))
    often = np.flatnonzero(kept & ~SOURCES)
    seldom = np.flatnonzero(kept & SOURCES)
    for epoch in epochs:
        assert [n for n in epoch if not SOURCES[n]] == np.repeat(often, 2).tolist()
    assert sorted(n for epoch in epochs for n in epoch if SOURCES[n]) == seldom.tolist()


def test_a_mixture_of_datasets_goes_by_their_names(folder):
    datasets = dataset(folder, "a"), dataset(folder, "b", count=100, first=1000)
    mixture = Mixture(by="dataset", unit="samples", weights={"a": 1, "b": 4})
    [epoch] = samples_of(planned(order_of(*datasets, mixture=mixture)))
    assert sum(number < 400 for number in epoch) == 100
    times = np.bincount([number - 400 for number in epoch if number >= 400])
    assert times.tolist() == [4] * 100


def test_a_store_above_the_memory_for_shuffling_is_shuffled_in_groups(folder):
    rows = dataset(folder)
    tokens = int(LENGTHS.sum())
    keys = [
        training_key(Pool([rows]), order_of(rows, shuffle_memory_gigabytes=4 * (tokens + more) / 10**9))
        for more in (0.5, -0.5)
    ]
    assert [key.group_tokens for key in keys] == [None, tokens - 1]
    assert keys[0].digest != keys[1].digest


@pytest.mark.parametrize(
    "change",
    [
        {"mixture": Mixture(epochs={"often": 2})},
        {"mixture": Mixture(epochs={"often": 3})},
        {"validation": True},
        {"fraction": 0.5},
        {"fraction": 0.4},
        {"shuffle_memory_gigabytes": 1e-5},
    ],
)
def test_whatever_decides_the_packs_gives_them_another_name(folder, change):
    plain = order_of(dataset(folder))
    if "validation" in change:
        change = {"validation": dataset(folder, "apart", count=5)}
    fraction = change.get("fraction", 0.0)
    other = order_of(
        dataset(folder, fraction=fraction), **{k: v for k, v in change.items() if k != "fraction"}
    )
    names = [training_key(Pool(data.datasets), data).digest for data in (plain, other)]
    assert names[0] != names[1]


def test_a_fraction_that_holds_out_everything_is_refused(folder):
    data = order_of(dataset(folder, count=3, fraction=0.9999))
    with pytest.raises(
        ConfigError, match=r"nothing is left to train on of 3 samples: .*0.9999 holds out 3, "
    ):
        planned(data)


def test_a_validation_dataset_that_has_all_the_rows_is_refused(folder):
    data = order_of(dataset(folder), validation=dataset(folder, "apart"))
    with pytest.raises(
        ConfigError, match="the validation data has 400; lower the fraction or give other data"
    ):
        planned(data)


def test_a_sample_longer_than_a_pack_is_refused_in_validation_too(folder):
    apart = PreparedDataset(name="apart", store_dir=write_index_only(folder / "apart", [9, 70]))
    with pytest.raises(ConfigError, match="apart: its longest sample has 70 tokens, max_length is 64"):
        plan_validation(order_of(dataset(folder), validation=apart))


def test_large_plans_are_told_of_while_they_are_made(folder, capsys, monkeypatch):
    monkeypatch.setattr(plan_module, "TOLD_SAMPLES", 400)
    data = order_of(dataset(folder, fraction=0.2), num_epochs=2)
    planned(data)
    planned(data)
    plan_validation(data)
    assert capsys.readouterr().out.splitlines() == [
        "packing training data, epoch 1 of 2",
        "packing training data, epoch 2 of 2",
        "packing validation data, epoch 1 of 1",
    ]
