"""A key is told with its meaning, what it takes, its default, its class, and where its value comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from onerec.errors import ConfigError
from runner.explain import CLASSES, explain, explanation_text, takes
from runner.manifest.keys import OWNERS
from tests.runner.programme import ROOT

MANIFEST = """\
name = "demo"
cluster = { env = { A = "1" } }
[model]
base_model_dir = "m"
[datasets.sft]
sources = "rows"
[stages.data]
kind = "build_data"
interactions = "a.csv"
items = "b.csv"
columns = { user = "uid" }
[training]
min_lr = 1e-6
[stages.expand]
kind = "expand_vocab"
[stages.stage1]
kind = "train"
dataset = "sft"
learning_rate = 1e-3
min_lr = 1e-5
[stages.sft]
kind = "train"
dataset = "sft"
learning_rate = 1e-4
[stages.eval]
kind = "evaluate"
data = "data"
split = "validation"
"""


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.toml").write_text(MANIFEST)


def test_a_key_is_told_with_its_values_and_where_each_comes_from() -> None:
    found = explain("min_lr", manifest=Path("m.toml"), settings=["stages.stage1.min_lr=2e-5"])

    assert explanation_text(found) == (
        "min_lr    in [training] or a stage of kind 'train'\n"
        "  Where the decay ends; training goes on at this rate.\n"
        "  takes:    a number from 0\n"
        "  default:  0.0\n"
        f"  class:    result: {CLASSES['result']}\n"
        "  stages.stage1.min_lr = 2e-05    --set stages.stage1.min_lr=2e-5\n"
        "  stages.sft.min_lr    = 1e-06    m.toml:13:1"
    )


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("stages.sft.learning_rate", [("stages.sft.learning_rate", 1e-4, "m.toml:24:1")]),
        ("stages.data.columns.user", [("stages.data.columns.user", "uid", "m.toml:11:13")]),
        ("stages.data.policy.repeats", [("stages.data.policy.repeats", "first", "default")]),
        ("stages.eval.split", [("stages.eval.split", "validation", "m.toml:28:1")]),
        ("output_dir", [("output_dir", "runs", "default")]),
        ("cluster.env", [("cluster.env", {"A": "1"}, "m.toml:2:13")]),
        ("base_model_dir", [("model.base_model_dir", str(Path("m")), "m.toml:4:1")]),
        ("cluster.slurm.partition", [("cluster.slurm.partition", None, "default")]),
    ],
)
def test_a_dotted_place_is_told_alone(key: str, values: list[tuple[str, object, str]]) -> None:
    (found,) = explain(key, manifest=Path("m.toml"))

    told = [(value.place, value.value, value.origin) for value in found.values]
    assert told == [
        (place, str(Path("m").absolute()) if value == "m" else value, origin)
        for place, value, origin in values
    ]


def test_a_key_that_several_tables_have_is_told_for_each() -> None:
    assert [one.table for one in explain("seed")] == [
        "[training] or a stage of kind 'train'",
        "the top of the manifest, before the first [table]",
    ]
    assert [one.table for one in explain("training.seed")] == ["[training] or a stage of kind 'train'"]


@pytest.mark.parametrize(
    "key", sorted({key for _, model in OWNERS for key in model.model_fields if key != "kind"})
)
def test_every_key_can_be_explained(key: str) -> None:
    found = explain(key, manifest=ROOT / "manifests" / "movielens.toml")

    assert found
    assert all(one.text and one.takes and one.key_class in CLASSES for one in found)
    assert explanation_text(found)


def test_an_unknown_key_is_told_with_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match="no table has a key 'learnig_rate'; did you mean 'learning_rate'\\?"
    ):
        explain("stages.sft.learnig_rate")
    with pytest.raises(ConfigError, match="no table has a key 'x\\\\x1b'; runner schema lists all keys"):
        explain("x\x1b")


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"type": "integer", "exclusiveMinimum": 0}, "a whole number above 0"),
        ({"type": "number", "minimum": 0, "maximum": 1}, "a number from 0 to 1"),
        ({"enum": ["a", "b"]}, '"a" or "b"'),
        ({"anyOf": [{"type": "integer"}, {"const": "auto"}]}, 'a whole number, or "auto"'),
        ({"$ref": "#/$defs/Mixture"}, "a table"),
    ],
)
def test_what_a_key_takes_is_told_in_words(part: dict[str, object], words: str) -> None:
    assert takes(part) == words
