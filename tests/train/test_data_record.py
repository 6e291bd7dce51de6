"""What a stage records of its data, and what it says when that is no longer the data."""

import json
from pathlib import Path

import pytest

from onerec.config import DataOrder, Mixture
from onerec.data.loading.load import PackLoader
from onerec.errors import ConfigError, DriftError
from onerec.train.data_record import go_on_from, record_data
from tests import tiny


def loader(tiny_programme, *, packs_per_step=4, **changes):
    data = tiny.train_config(tiny_programme, Path("stage"))["data"]
    order = DataOrder.model_validate_json(json.dumps({**data, **changes}))
    return PackLoader(order, rank=0, world_size=1, packs_per_step=packs_per_step, pad_to=None)


def test_the_record_tells_what_is_read_and_of_which_files(tiny_programme, tmp_path, capsys):
    mixed = loader(tiny_programme, mixture={"epochs": {"history": 2.0}})
    record_data(mixed, packs_per_step=4, stage="first", stage_dir=tmp_path)
    record = json.loads((tmp_path / "data.json").read_text())
    assert record["sources"]["history"]["repeats"] == 2.0
    assert (record["total_packs"], record["packs_per_step"]) == (mixed.total_packs, 4)
    assert [file[:2] for file in record["files"]] == [["tiny", "part-00000-of-00001.parquet"]]
    assert "each read 2.00 times an epoch" in capsys.readouterr().out


def test_data_that_changed_is_refused_with_the_files_that_differ(tiny_programme, tmp_path):
    position = loader(tiny_programme).state_dict()
    now = loader(tiny_programme, shuffle_seed=6)
    record = {"files": [*now.files(), ["tiny", "gone.parquet", 1, "0"]]}
    (tmp_path / "data.json").write_text(json.dumps(record))
    with pytest.raises(DriftError, match=r"seed is 6, not 5.*gone\.parquet"):
        go_on_from(position, loader=now, stage_dir=tmp_path)


def test_without_a_record_no_difference_of_files_is_made_up(tiny_programme, tmp_path):
    position = loader(tiny_programme).state_dict()
    with pytest.raises(DriftError) as raised:
        go_on_from(position, loader=loader(tiny_programme, shuffle_seed=6), stage_dir=tmp_path)
    assert "added" not in str(raised.value)


def test_more_epochs_after_an_end_with_fillers_leave_no_pack_unread(tiny_programme):
    short = loader(tiny_programme)
    assert short.total_packs % 4, "the last step needs fillers"
    steps = sum(1 for _ in short)
    longer = loader(tiny_programme, num_epochs=2)
    longer.load_state_dict(short.state_dict())
    left = list(longer)
    read = [pack.pack for step in left for pack in step.packs if pack.pack >= 0]
    longer.load_state_dict(short.state_dict())
    assert longer.steps_left == len(left)
    assert read == list(range(short.total_packs, longer.total_packs))
    assert steps + len(left) > longer.total_steps


def test_a_mixture_that_reads_nothing_is_refused_on_every_rank(tiny_programme):
    nothing = Mixture(epochs={"history": 0.001, "next_item": 0.001})
    with pytest.raises(ConfigError, match="the mixture reads no sample in 1 epochs"):
        loader(tiny_programme, mixture=nothing.model_dump())
