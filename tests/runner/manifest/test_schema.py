"""The shipped schema is the one that the models give, and it accepts what load accepts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tomli
from jsonschema import Draft202012Validator

from runner.manifest.schema import SCHEMA_PATH, schema_text

MANIFESTS = sorted(Path(__file__).parents[3].joinpath("manifests").glob("*.toml"))
SCHEMA = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))


def test_the_shipped_schema_is_current():
    assert SCHEMA_PATH.read_text(encoding="utf-8") == schema_text(), "run: python -m runner.manifest.schema"


def test_the_schema_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_shipped_manifests_fit_the_schema_and_name_it_in_their_first_line(path: Path):
    text = path.read_text(encoding="utf-8")

    assert text.startswith("#:schema ../runner/manifest/manifest.schema.json\n")
    assert [error.message for error in Draft202012Validator(SCHEMA).iter_errors(tomli.loads(text))] == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("stages.stage1.learnig_rate", 1e-3),
        ("stages.stage1.learning_rate", "1e-3"),
        ("stages.stage1.kind", "trian"),
        ("training.min_lr", "low"),
        ("training.foo", 1),
        ("cluster.nnodes", "one"),
        ("datasets.pretrain.sources", []),
    ],
)
def test_an_editor_sees_a_mistake(place: str, value: object):
    document = tomli.loads(MANIFESTS[0].read_text(encoding="utf-8"))
    *above, key = place.split(".")
    table = document
    for part in above:
        table = table[part]
    table[key] = value

    assert not Draft202012Validator(SCHEMA).is_valid(document)


def test_a_training_stage_may_leave_to_the_defaults_what_it_needs():
    document = tomli.loads(MANIFESTS[0].read_text(encoding="utf-8"))
    document["training"]["learning_rate"] = 1e-4
    del document["stages"]["stage1"]["learning_rate"]

    assert Draft202012Validator(SCHEMA).is_valid(document)


def test_every_key_says_what_it_means():
    tables = {**SCHEMA["$defs"], "Manifest": SCHEMA}
    silent = {
        f"{name}.{key}"
        for name, table in tables.items()
        for key, part in table["properties"].items()
        if "description" not in {**part, **tables.get(part.get("$ref", "").rpartition("/")[2], {})}
    }

    assert {name for name in silent if not name.endswith(".kind")} == set()
