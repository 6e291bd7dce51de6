"""The packs of a prepared dataset, as its summary tells them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onerec.config import PreparedDataset
from onerec.data.loading.load import PackLoader
from onerec.data.preparation.prepare import prepare
from tests.data.stores import order_of


@pytest.mark.parametrize("fraction", [0.0, 0.2])
def test_the_summary_tells_what_a_stage_will_read(make_config, parquet_dir, capsys, fraction):
    config = make_config(
        parquet_dir, validation_fraction=fraction, local_shuffle_buffer_size=50, shuffle_seed=7
    )
    packing = prepare(config)["packing"]
    store = PreparedDataset(name="rows", store_dir=config.output_dir, validation_fraction=fraction)
    loader = PackLoader(order_of(store, max_length=256), rank=0, world_size=1, packs_per_step=1, pad_to=None)
    told = loader.account()
    assert packing["plan"] == loader.fingerprint
    assert packing["packs_per_epoch"] == told["total_packs"]
    assert packing["padding_fraction"] == pytest.approx(told["padding_fraction"])
    assert packing["samples_per_pack"] == told["datasets"]["rows"]["samples"] / told["total_packs"]
    evaluated = told["validation"] or {"samples": 0, "tokens": 0}
    assert (packing["validation_samples"], packing["validation_tokens"]) == (
        evaluated["samples"],
        evaluated["tokens"],
    )
    assert packing["validation_samples"] == 120 - told["datasets"]["rows"]["samples"]
    assert (packing["validation_samples"] > 0) == (fraction > 0)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"prepare: {told['total_packs']} packs of 256 tokens an epoch, padding ")
    assert last.endswith("held out for validation") == (fraction > 0)


def test_another_share_for_validation_is_packed_anew_and_prepared_no_more(make_config, parquet_dir):
    first = prepare(make_config(parquet_dir))
    second = prepare(make_config(parquet_dir, validation_fraction=0.3))
    assert (first["reused"], second["reused"]) == (False, True)
    assert second["packing"]["packs_per_epoch"] < first["packing"]["packs_per_epoch"]
    written = json.loads((Path(make_config(parquet_dir).output_dir) / "summary.json").read_text())
    assert written["packing"] == second["packing"]
