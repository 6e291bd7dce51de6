"""What the plan of a run from raw interactions to a measured recommender tells each step."""

from __future__ import annotations

from pathlib import Path

import pytest

from onerec.config import (
    BuildDataConfig,
    ConvertConfig,
    EvaluateConfig,
    TrainConfig,
    Vocab,
    dump_config,
    load_config,
)
from runner.manifest import load
from runner.plan import plan
from runner.steps import Plan, Read
from tests.runner.sample import RUN, changed

MANIFEST = """
name = "small"
[datasets.texts]
sources = { stage = "data", name = "pretrain" }
max_length = 64
[datasets.chats]
sources = { stage = "data", name = "sft" }
max_length = 64
add_think_pattern = true
[training]
learning_rate = 1e-3
[stages.data]
kind = "build_data"
interactions = "ratings.csv"
items = "films.csv"
columns = { user = "uid" }
[stages.base]
kind = "init_model"
corpus = [{ stage = "data", name = "pretrain" }]
[stages.expand]
kind = "expand_vocab"
[stages.stage2]
kind = "train"
dataset = "texts"
[stages.sft]
kind = "train"
dataset = "chats"
hit_rate = { stage = "data", name = "validation" }
export = "best"
[stages.eval]
kind = "evaluate"
data = "data"
baselines = ["popularity"]
models = { "without SFT" = "stage2" }
"""
BASED = """
name = "based"
[model]
base_model_dir = "/models/Qwen3"
[vocab]
item_map = "ids.parquet"
[datasets.chat]
sources = "/data/chat"
[stages.sft]
kind = "train"
dataset = "chat"
learning_rate = 1e-3
[stages.eval]
kind = "evaluate"
built_dir = "rows"
"""
ROWS = "/runs/small/data/rows"


def planned(folder: Path, text: str = MANIFEST, *overrides: str, **identities: str) -> Plan:
    (folder / "m.toml").write_text(text)
    found = {str(folder / name.replace("_", ".")): digest for name, digest in identities.items()}
    return plan(load(folder / "m.toml", overrides).manifest, run=RUN, identities=found)


def test_data_is_built_from_tables_beside_the_manifest(tmp_path: Path) -> None:
    step = planned(tmp_path).step("data")
    config = step.config
    assert isinstance(config, BuildDataConfig)
    assert (config.data.interactions, config.data.items) == (
        str(tmp_path / "ratings.csv"),
        str(tmp_path / "films.csv"),
    )
    assert (config.data.columns.user, config.data.columns.item) == ("uid", "item_id")
    assert step.reads == (
        Read("data.interactions", str(tmp_path / "ratings.csv")),
        Read("data.items", str(tmp_path / "films.csv")),
    )
    assert [Path(output).name for output in step.outputs] == [
        *("pretrain", "sft", "validation", "test", "items.parquet", "histories.parquet")
    ]
    without = planned(
        tmp_path, MANIFEST.split("hit_rate", maxsplit=1)[0], "stages.data.validation=false"
    ).step("data")
    assert f"{ROWS}/validation" not in without.outputs


def test_a_stage_with_a_hit_rate_is_told_questions_items_and_how_they_are_rendered(tmp_path: Path) -> None:
    found = planned(tmp_path)
    stage2, sft = found.step("stage2").config, found.step("sft").config
    assert isinstance(stage2, TrainConfig)
    assert isinstance(sft, TrainConfig)
    assert (sft.hit_rate_dir, sft.item_map) == (f"{ROWS}/validation", f"{ROWS}/items.parquet")
    assert (stage2.hit_rate_dir, stage2.item_map) == (None, None)
    assert (stage2.add_think_pattern, sft.add_think_pattern) == (False, True)
    assert found.step("stage2").upstream == ("expand", "prepare:texts")
    assert found.step("sft").upstream == ("stage2:convert", "prepare:chats", "data")


def test_every_export_has_the_items_that_its_model_was_trained_on(tmp_path: Path) -> None:
    found = planned(tmp_path)
    exports = [found.step(f"{stage}:convert").config for stage in ("stage2", "sft")]
    told = [
        (one.item_map, one.best, one.add_think_pattern) for one in exports if isinstance(one, ConvertConfig)
    ]
    assert told == [(f"{ROWS}/items.parquet", False, False), (f"{ROWS}/items.parquet", True, True)]


def test_an_evaluation_is_told_its_models_the_first_of_them_that_it_starts_from(tmp_path: Path) -> None:
    step = planned(tmp_path).step("eval")
    config = step.config
    assert isinstance(config, EvaluateConfig)
    assert list(config.models.items()) == [
        ("sft", "/runs/small/sft/converted"),
        ("without SFT", "/runs/small/stage2/converted"),
    ]
    assert (config.built_dir, config.split, config.add_think_pattern) == (ROWS, "test", True)
    assert config.evaluation.baselines == ("popularity",)
    assert (step.launched, step.one_per_host) == (False, False)
    assert step.upstream == ("sft:convert", "stage2:convert", "data")
    assert step.outputs == ("/runs/small/eval/evaluation.json", "/runs/small/eval/ranks.parquet")


def test_every_config_can_be_read_back_by_the_trainer(tmp_path: Path) -> None:
    for step in (*planned(tmp_path).steps, *planned(tmp_path, BASED).steps):
        path = tmp_path / "config.json"
        path.write_text(dump_config(step.config))
        assert load_config(path) == step.config


def test_ids_made_elsewhere_go_along_with_exports_and_change_nothing_else(tmp_path: Path) -> None:
    found = planned(tmp_path, BASED)
    train, convert, evaluate = (found.step(name).config for name in ("sft", "sft:convert", "eval"))
    assert isinstance(train, TrainConfig)
    assert isinstance(convert, ConvertConfig)
    assert isinstance(evaluate, EvaluateConfig)
    assert convert.item_map == str(tmp_path / "ids.parquet")
    assert type(train.vocab) is Vocab
    assert evaluate.built_dir == str(tmp_path / "rows")
    other = planned(tmp_path, BASED, ids_parquet="2")
    assert changed(found, other) == ["sft:convert", "eval"]


@pytest.mark.parametrize(
    ("override", "steps"),
    [
        ("stages.data.columns.user=id", None),
        ("stages.data.policy.repeats=last", None),
        ("stages.eval.top_k=[3]", ["eval"]),
        ("stages.eval.split=validation", ["eval"]),
        ("stages.eval.batch_size=7", []),
        ("stages.sft.export=last", ["sft", "sft:convert", "eval"]),
        ("stages.sft.hit_rate_per_step=7", ["sft", "sft:convert", "eval"]),
    ],
)
def test_a_changed_key_changes_the_fingerprints_that_depend_on_it(
    tmp_path: Path, override: str, steps: list[str] | None
) -> None:
    before, after = planned(tmp_path), planned(tmp_path, MANIFEST, override)
    assert changed(before, after) == ([step.name for step in before.steps] if steps is None else steps)


def test_other_interactions_make_everything_anew(tmp_path: Path) -> None:
    before, after = planned(tmp_path, ratings_csv="1"), planned(tmp_path, ratings_csv="2")
    assert changed(before, after) == [step.name for step in before.steps]


def test_where_a_run_lies_changes_no_fingerprint_of_an_evaluation(tmp_path: Path) -> None:
    from runner.rundir import RunDir

    (tmp_path / "m.toml").write_text(MANIFEST)
    manifest = load(tmp_path / "m.toml").manifest
    moved = plan(manifest, run=RunDir(Path("/elsewhere/name")), identities={})
    assert changed(planned(tmp_path), moved) == []


def test_the_items_of_a_model_are_those_of_its_chain_not_of_the_newest_build(tmp_path: Path) -> None:
    text = MANIFEST.replace(
        "[stages.sft]", '[stages.other]\nkind = "build_data"\nsource = "movielens-1m"\n[stages.sft]'
    )
    config = planned(tmp_path, text).step("sft:convert").config
    assert isinstance(config, ConvertConfig)
    assert config.item_map == f"{ROWS}/items.parquet"
