from __future__ import annotations

import json
from pathlib import Path

import pytest

from onerec.config import ConvertConfig, PrepareConfig, TrainConfig, dump_config, load_config
from onerec.errors import ConfigError
from runner.manifest import load
from runner.plan import plan
from runner.rundir import RunDir
from tests.runner.programme import STEPS
from tests.runner.sample import RUN, changed, small_plan

BASED = """
name = "based"
[model]
base_model_dir = "/models/Qwen3"
[datasets.chat]
sources = ["/data/a.parquet", "hdfs://host/b"]
max_length = 64
[training]
learning_rate = 1e-3
[stages.expand]
kind = "expand_vocab"
[stages.sft]
kind = "train"
dataset = "chat"
seed = 5
[stages.other]
kind = "train"
dataset = "chat"
starts_from = "expand"
[stages.test]
kind = "test_model"
starts_from = "sft"
"""


def test_steps_come_in_order_and_prepare_right_before_its_first_use(tmp_path: Path) -> None:
    assert [step.name for step in small_plan(tmp_path).steps] == STEPS


def test_every_step_reads_what_an_earlier_one_writes(tmp_path: Path) -> None:
    upstream = {step.name: step.upstream for step in small_plan(tmp_path).steps}
    assert upstream == {
        "made": (),
        "base": ("made",),
        "expand": ("base",),
        "prepare:mixed": ("expand", "made"),
        "first": ("expand", "prepare:mixed"),
        "first:convert": ("first", "expand", "made"),
        "second": ("first:convert", "prepare:mixed"),
        "second:convert": ("second", "first:convert", "made"),
        "test": ("second:convert",),
    }


def test_only_training_is_launched_on_the_cluster(tmp_path: Path) -> None:
    assert [step.name for step in small_plan(tmp_path).steps if step.launched] == ["first", "second"]


def test_every_config_can_be_read_back_by_the_trainer(tmp_path: Path) -> None:
    for step in small_plan(tmp_path).steps:
        path = tmp_path / "config.json"
        path.write_text(dump_config(step.config))
        assert load_config(path) == step.config


def test_no_two_steps_write_the_same_place(tmp_path: Path) -> None:
    """A stage named `data` lies where the prepared datasets are."""
    manifest = tmp_path / "m.toml"
    shipped = Path(__file__).parents[2] / "manifests" / "movielens.toml"
    manifest.write_bytes(shipped.read_bytes())
    steps = plan(load(manifest).manifest, run=RUN, identities={}).steps
    places = [place for step in steps for place in {step.folder, step.output_dir}]
    assert len(places) == len(set(places))
    outputs = [output for step in steps for output in step.outputs]
    assert not set(outputs) & set(places)


def test_a_base_model_and_data_from_outside_are_read_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(BASED)
    found = plan(load(tmp_path / "m.toml").manifest, run=RUN, identities={})
    assert found.outside == ("/models/Qwen3", "/data/a.parquet", "hdfs://host/b")
    prepare = found.step("prepare:chat").config
    assert isinstance(prepare, PrepareConfig)
    assert prepare.sources == ("/data/a.parquet", "hdfs://host/b")
    assert prepare.tokenizer_dir == "/runs/small/expand/model"


def test_starts_from_chooses_the_model_and_seeds_go_from_run_to_stage_to_order(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(BASED)
    found = plan(load(tmp_path / "m.toml", ["seed=3"]).manifest, run=RUN, identities={})
    other, sft = found.step("other").config, found.step("sft").config
    assert isinstance(other, TrainConfig)
    assert isinstance(sft, TrainConfig)
    assert other.model.model_dir == "/runs/small/expand/model"
    assert (sft.seed, sft.data.shuffle_seed, other.seed, other.data.shuffle_seed) == (5, 5, 3, 3)
    assert found.step("test").upstream == ("sft:convert",)


MIXED = (
    BASED.replace(
        """seed = 5
""",
        """
validation = "held"
mixture = { by = "dataset", weights = { chat = 0.6, general = 0.4 } }
""",
    ).replace('dataset = "chat"\n\n', 'dataset = ["chat", "general"]\n\n')
    + """
[datasets.general]
sources = "/data/general"
max_length = 64
validation_fraction = 0.1
[datasets.held]
sources = "/data/held"
max_length = 64
"""
)


def test_a_stage_of_several_datasets_prepares_and_reads_each_of_them(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(MIXED)
    run = RunDir(tmp_path / "runs" / "based")
    made = plan(load(tmp_path / "m.toml").manifest, run=run, identities={})
    step = made.step("sft")
    assert isinstance(step.config, TrainConfig)
    data = step.config.data
    assert [step.name for step in made.steps][:5] == [
        *("expand", "prepare:chat", "prepare:general", "prepare:held", "sft")
    ]
    assert step.upstream == ("expand", "prepare:chat", "prepare:general", "prepare:held")
    assert [(part.name, part.validation_fraction) for part in data.datasets] == [
        ("chat", 0),
        ("general", 0.1),
    ]
    assert [part.store_dir for part in data.datasets] == [
        str(run.dataset(name).path) for name in ("chat", "general")
    ]
    assert data.validation is not None
    assert data.validation.store_dir == str(run.dataset("held").path)
    assert data.mixture is not None
    assert data.mixture.weights == {"chat": 0.6, "general": 0.4}


def test_a_dataset_that_two_tokenizers_would_need_is_refused(tmp_path: Path) -> None:
    text = BASED.replace('starts_from = "expand"', 'starts_from = "wider"')
    text = text.replace("[stages.sft]", '[stages.wider]\nkind = "expand_vocab"\n[stages.sft]', 1)
    text = text.replace(
        'kind = "train"\ndataset = "chat"\nseed = 5',
        'kind = "train"\ndataset = "chat"\nstarts_from = "expand"',
    )
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(
        ConfigError, match=r"stages\.other\.dataset: 'chat' is prepared with the tokenizer of"
    ):
        plan(load(tmp_path / "m.toml").manifest, run=RUN, identities={})


@pytest.mark.parametrize(
    ("override", "steps"),
    [
        ("stages.second.learning_rate=5e-4", ["second", "second:convert", "test"]),
        ("stages.first.max_steps=9", STEPS[4:]),
        ("stages.first.packs_per_step=4", STEPS[4:]),
        ("datasets.mixed.shuffle_seed=9", STEPS[4:]),
        ("datasets.mixed.num_epochs=2", STEPS[4:]),
        ("datasets.mixed.add_think_pattern=true", STEPS[3:]),
        ("stages.base.hidden_size=64", STEPS[1:]),
        ("seed=2", STEPS),
        ("stages.test.max_new_tokens=9", ["test"]),
        ("datasets.mixed.num_workers=7", []),
        ("stages.first.logging_per_step=7", []),
        ("stages.first.keep_checkpoints=7", []),
        ("stages.first.save_checkpoint_per_step=7", []),
        ("stages.first.compile=off", []),
        ("cluster.launcher=torchrun", []),
        ("name=other", []),
        ("output_dir=elsewhere", []),
    ],
)
def test_a_changed_key_changes_the_fingerprints_that_depend_on_it(
    tmp_path: Path, override: str, steps: list[str]
) -> None:
    assert changed(small_plan(tmp_path), small_plan(tmp_path, override)) == steps


def test_where_a_run_lies_changes_no_fingerprint(tmp_path: Path) -> None:
    moved = small_plan(tmp_path, run=RunDir(Path("/elsewhere/name")))
    assert changed(small_plan(tmp_path), moved) == []


def test_other_files_outside_change_the_steps_that_read_them(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(BASED)
    manifest = load(tmp_path / "m.toml").manifest
    before = plan(manifest, run=RUN, identities={"/data/a.parquet": "1"})
    after = plan(manifest, run=RUN, identities={"/data/a.parquet": "2"})
    names = ["prepare:chat", "sft", "sft:convert", "other", "other:convert", "test"]
    assert changed(before, after) == names


def test_downstream_is_everything_that_depends_on_a_step(tmp_path: Path) -> None:
    found = small_plan(tmp_path)
    assert found.downstream(["first:convert"]) == ("first:convert", "second", "second:convert", "test")
    assert found.downstream(["made"]) == tuple(STEPS)


def test_an_unknown_step_is_told_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no step 'third'; the steps are made, base, expand"):
        small_plan(tmp_path).step("third")


def test_a_fingerprint_depends_on_nothing_but_the_ingredients(tmp_path: Path) -> None:
    """Ingredients are JSON: what the journal keeps makes the same fingerprint again."""
    from runner.fingerprint import fingerprint

    for step in small_plan(tmp_path).steps:
        assert fingerprint(json.loads(json.dumps(step.ingredients))) == step.fingerprint


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("/models/Qwen3-1.7B", "Qwen3-1.7B"),
        ("/cache/hub/models--Qwen--Qwen3-1.7B/snapshots/70d244cc86cc", "Qwen/Qwen3-1.7B"),
    ],
)
def test_a_model_card_gets_the_name_of_the_base_model(tmp_path: Path, folder: str, name: str) -> None:
    path = tmp_path / "based.toml"
    path.write_text(BASED.replace("/models/Qwen3", folder))
    config = plan(load(path, ()).manifest, run=RUN, identities={}).step("sft:convert").config
    assert isinstance(config, ConvertConfig)
    assert config.base_model == name
