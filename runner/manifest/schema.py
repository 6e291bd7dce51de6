"""The JSON Schema of a manifest, for editors; `python -m runner.manifest.schema` writes it anew.

Made from the models, with the text under each field as its description. It knows each table by itself; how
tables fit together is checked when a manifest is loaded.
"""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import onerec.config.build
import onerec.config.data
import onerec.config.evaluation
import onerec.config.model
import onerec.config.training
import runner.manifest.tables
from onerec.config import Training
from runner.manifest.tables import Manifest

SCHEMA_PATH = Path(__file__).with_name("manifest.schema.json")

Schema = dict[str, Any]


def manifest_schema() -> Schema:
    """JSON Schema (draft 2020-12) of a manifest as it is written: [training] may leave out any key."""
    schema = Manifest.model_json_schema()
    definitions: Schema = schema["$defs"]
    training = Training.model_json_schema()
    definitions["Training"] = {
        key: part for key, part in training.items() if key not in ("required", "$defs")
    }
    definitions["TrainStage"]["required"] = ["kind", "dataset"]  # the other keys may come from [training]
    schema["properties"]["training"] = {"$ref": "#/$defs/Training"}
    texts = field_texts()
    for name, definition in {**definitions, "Manifest": schema}.items():
        _describe(definition, texts.get(name, {}))
    del definitions["JsonValue"]
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    plain: Schema = _without_noise(schema)
    return plain


def field_texts() -> dict[str, dict[str, str]]:
    """The text under each field, by class and field, inherited fields included.

    Read from the source: pydantic's own use_attribute_docstrings does it on every import, which takes long.
    """
    config = onerec.config
    sections = (config.build, config.data, config.evaluation, config.model, config.training)
    modules = (*sections, runner.manifest.tables)
    own = {name: texts for module in modules for name, texts in _texts_of_module(module).items()}
    texts: dict[str, dict[str, str]] = {}
    for name in own:
        section = getattr(runner.manifest.tables, name, None) or getattr(config, name)
        bases = [own.get(base.__name__, {}) for base in reversed(section.__mro__)]
        texts[name] = {key: text for base in bases for key, text in base.items()}
    return texts


def schema_text() -> str:
    """The text of runner/manifest/manifest.schema.json."""
    return json.dumps(manifest_schema(), indent=2, ensure_ascii=False) + "\n"


def _texts_of_module(module: ModuleType) -> dict[str, dict[str, str]]:
    tree = ast.parse(inspect.getsource(module))
    return {node.name: _texts_of_class(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _texts_of_class(node: ast.ClassDef) -> dict[str, str]:
    texts: dict[str, str] = {}
    for field, below in zip(node.body, node.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = _string(below)
            if text:
                texts[field.target.id] = inspect.cleandoc(text)
    return texts


def _string(node: ast.stmt) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return node.value.value if isinstance(node.value.value, str) else ""
    return ""


def _describe(definition: Schema, texts: dict[str, str]) -> None:
    for key, part in definition.get("properties", {}).items():
        if key in texts and "$ref" not in part:
            part["description"] = texts[key]


def _without_noise(part: Any) -> Any:
    """The schema without what editors have no use for: titles made from names, classes, and null.

    TOML has no null: a key that is not given is left out.
    """
    if isinstance(part, list):
        return [_without_noise(inner) for inner in part if inner != {"type": "null"}]
    if not isinstance(part, dict):
        return part
    plain = {
        key: {name: _without_noise(inner) for name, inner in below.items()}
        if key in ("properties", "$defs")
        else _without_noise(below)
        for key, below in part.items()
        if key not in ("title", "class", "later") and not (key == "default" and below is None)
    }
    choices = plain.get("anyOf", [])
    return {**choices[0], **_without(plain, "anyOf")} if len(choices) == 1 else plain


def _without(part: Schema, key: str) -> Schema:
    return {name: below for name, below in part.items() if name != key}


if __name__ == "__main__":
    SCHEMA_PATH.write_text(schema_text(), encoding="utf-8")
