"""The item map of an exported model, and the best checkpoint instead of the newest."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from onerec.checkpoint.best import Best, record_best
from onerec.convert import convert
from onerec.errors import ConfigError
from onerec.items.item_map import ITEMS_NAME, load_item_map
from tests import tiny
from tests.evaluate import built
from tests.export.test_convert import conversion


@pytest.fixture
def items(tmp_path):
    built.write_items(tmp_path / "items.parquet", about=built.ABOUT)
    return tmp_path / "items.parquet"


def test_the_map_goes_along_and_tells_how_to_ask(copy, tiny_programme, tmp_path, items):
    told = convert(conversion(copy, tiny_programme, tmp_path, item_map=str(items), add_think_pattern=True))
    folder = Path(told["model_dir"])
    shipped, source = load_item_map(folder), load_item_map(items)
    assert shipped.pids == source.pids
    assert shipped.codes_NL.tolist() == source.codes_NL.tolist()
    assert shipped.titles == source.titles
    assert shipped.about == {**built.ABOUT, "add_think_pattern": True}
    assert told["proved"]["items"].startswith("40 items, no two alike")
    card = (folder / "README.md").read_text()
    assert "runner recommend" in card
    assert "- items: 40 items" in card
    assert json.loads((folder / "conversion.json").read_text())["item_map"] == told["item_map"]


def test_a_folder_that_is_there_gets_another_map_and_no_more(copy, tiny_programme, tmp_path, items):
    first = convert(conversion(copy, tiny_programme, tmp_path))
    folder = Path(first["model_dir"])
    weights = (folder / "model.safetensors").stat().st_mtime_ns
    assert not (folder / ITEMS_NAME).exists()
    convert(conversion(copy, tiny_programme, tmp_path, item_map=str(items)))
    before = (folder / ITEMS_NAME).stat().st_mtime_ns
    convert(conversion(copy, tiny_programme, tmp_path, item_map=str(items)))
    assert (folder / ITEMS_NAME).stat().st_mtime_ns == before
    built.write_items(items, about=built.ABOUT, order=list(range(39, -1, -1)))
    convert(conversion(copy, tiny_programme, tmp_path, item_map=str(items)))
    assert load_item_map(folder).pids[0] == "p39"
    assert (folder / "model.safetensors").stat().st_mtime_ns == weights


def test_a_map_of_another_vocabulary_leaves_no_folder(copy, tiny_programme, tmp_path, items):
    table = pq.read_table(items)
    larger = [[code + 8 for code in codes] for codes in table["sid"].to_pylist()]
    about = {**built.ABOUT, "vocab_size_per_layer": 16}
    table = table.set_column(1, "sid", [larger]).replace_schema_metadata({b"onerec": json.dumps(about)})
    pq.write_table(table, items)
    with pytest.raises(
        ConfigError,
        match=r"items\.parquet goes along with has 3 levels of 8 codes, .* up to 15; give the item map",
    ):
        convert(conversion(copy, tiny_programme, tmp_path, item_map=str(items)))
    assert list(copy.glob("step*/global_step*/converted*")) == []
    with pytest.raises(ConfigError, match="cannot be read"):
        convert(conversion(copy, tiny_programme, tmp_path, item_map=str(tmp_path / "nowhere.parquet")))


def test_the_best_checkpoint_is_converted_and_not_the_newest(tiny_programme, tmp_path):
    config = tiny.train_config(
        tiny_programme,
        tmp_path / "stage",
        checkpoint={"save_checkpoint_per_step": 1},
        duration={"max_steps": 3},
    )
    tiny.run(config)
    stage = Path(config["output_dir"])
    with pytest.raises(ConfigError, match=r"has no best.json: no hit rate was measured; train with hit_rate"):
        convert(conversion(stage, tiny_programme, tmp_path, best=True))
    record_best(stage, Best(step=2, ndcg=0.5, hit_rate=0.5, valid_id_rate=1.0, questions=4, k=10))
    told = convert(conversion(stage, tiny_programme, tmp_path, best=True, link=str(tmp_path / "link")))
    assert told["step"] == 2
    assert (tmp_path / "link").resolve() == Path(told["model_dir"])
    named = convert(conversion(stage, tiny_programme, tmp_path, best=True, step=1))
    assert named["step"] == 1, "a step that is named goes before the best"
