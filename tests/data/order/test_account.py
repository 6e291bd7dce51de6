"""The account of a stage is what its packs hold."""

from __future__ import annotations

import json

import numpy as np
import pytest

from onerec.config import Mixture, PreparedDataset
from onerec.data.order.account import account_of
from onerec.data.order.plan import open_plan
from onerec.data.order.selection import plan_training
from onerec.data.store.pool import Pool
from tests.data.stores import order_of, write_index_only

LENGTHS = np.random.default_rng(0).integers(1, 65, 300).astype(np.int32)


@pytest.fixture
def datasets(tmp_path):
    """Two datasets; the source b is in both of them."""

    def write(name, names, hashes):
        store_dir = write_index_only(
            tmp_path / name, LENGTHS, sources=np.arange(300) % 2, names=names, hashes=hashes
        )
        return PreparedDataset(name=name, store_dir=store_dir, validation_fraction=0.1)

    return write("x", ("a", "b"), range(300)), write("y", ("b", "c"), range(200, 500))


def account(data):
    planned = plan_training(Pool(data.datasets), data)
    return planned, account_of(planned, data, packs_per_step=8)


@pytest.mark.parametrize(
    "mixture", [None, Mixture(weights={"a": 1, "b": 1, "c": 2}), Mixture(epochs={"a": 0.4})]
)
def test_the_account_is_counted_from_the_packs(datasets, mixture):
    data = order_of(*datasets, mixture=mixture, num_epochs=3)
    planned, told = account(data)
    pool, plans = planned.pool, [open_plan(path) for path in planned.paths]
    read = [plan.pack(number) for plan in plans for number in range(len(plan))]
    samples = np.concatenate(read)
    tokens = int(pool.lengths[samples].sum())
    for place, name in enumerate(pool.sources):
        facts = told["sources"][name]
        for epoch, plan in enumerate(plans):
            of_source = plan.samples[pool.sources_of[plan.samples] == place]
            assert facts["samples_per_epoch"][epoch] == len(of_source)
            assert facts["tokens_per_epoch"][epoch] == pool.lengths[of_source].sum()
        of_run = samples[pool.sources_of[samples] == place]
        assert facts["sample_share"] == pytest.approx(len(of_run) / len(samples))
        assert facts["token_share"] == pytest.approx(pool.lengths[of_run].sum() / tokens)
        assert facts["repeats"] == pytest.approx(len(of_run) / 3 / facts["samples"])
    assert told["datasets"]["x"]["samples_per_epoch"][0] == np.count_nonzero(plans[0].samples < 300)
    assert told["packs_per_epoch"] == [len(plan) for plan in plans]
    assert told["total_packs"] == len(read)
    assert told["total_steps"] == -(-len(read) // 8)
    assert told["padding_fraction"] == pytest.approx(1 - tokens / (len(read) * 64))
    assert json.loads(json.dumps(told)) == told


def test_weights_of_tokens_become_shares_of_tokens(tmp_path):
    lengths = np.random.default_rng(0).integers(1, 65, 20_000)
    store_dir = write_index_only(
        tmp_path / "x", lengths, sources=np.arange(20_000) % 4 // 3, names=("a", "b")
    )
    rows = PreparedDataset(name="x", store_dir=store_dir)
    _, told = account(
        order_of(rows, mixture=Mixture(weights={"a": 1, "b": 3}), local_shuffle_buffer_size=10**6)
    )
    shares = [told["sources"][name]["token_share"] for name in "ab"]
    assert shares == pytest.approx([0.25, 0.75], abs=0.003)
    assert sum(told["sources"][name]["tokens_per_epoch"][0] for name in "ab") == pytest.approx(
        lengths.sum(), rel=0.01
    )
    assert told["sources"]["b"]["repeats"] == pytest.approx(3, rel=0.02)
    assert told["warnings"] == []


def test_what_is_not_trained_on_is_told(datasets, tmp_path):
    apart = PreparedDataset(
        name="apart", store_dir=write_index_only(tmp_path / "apart", LENGTHS[:20], hashes=range(20))
    )
    data = order_of(*datasets, validation=apart)
    planned, told = account(data)
    trained = len(open_plan(planned.paths[0]).samples)
    assert told["held_out_samples"] + told["samples_also_in_validation"] + trained == 600
    assert 0 < told["samples_also_in_validation"] <= 20
    assert told["validation"]["samples"] == told["held_out_samples"] + 20
    assert told["validation"]["packs"] >= told["validation"]["tokens"] / 64
    assert list(told["sources"]) == ["a", "b", "c"]


def test_sources_read_too_often_or_not_at_all_are_told(datasets):
    mixture = Mixture(epochs={"a": 7.3, "c": 0})
    _, told = account(order_of(*datasets, mixture=mixture, num_epochs=2))
    kept = told["sources"]["c"]["samples"]
    assert told["warnings"] == [
        "source 'a' is read 7.3 times an epoch, 14.6 times in all",
        f"source 'c' has {kept} training samples, none of which is read",
    ]


def test_a_fraction_that_holds_nothing_out_is_told(tmp_path):
    store_dir = write_index_only(tmp_path / "x", LENGTHS[:3], hashes=[5, 6, 7])
    rows = PreparedDataset(name="x", store_dir=store_dir, validation_fraction=0.001)
    _, told = account(order_of(rows))
    assert told["validation"] == {"samples": 0, "tokens": 0, "packs": 0}
    assert told["warnings"] == [
        "validation_fraction 0.001 holds out none of the 3 samples of dataset 'x': nothing of it is "
        "evaluated; raise the fraction"
    ]
