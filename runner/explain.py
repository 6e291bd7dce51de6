"""What a key of a manifest means: text, what it takes, default, class, and its value in a manifest.

Everything comes from the tables themselves; of a manifest only what its loading tells is read.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from onerec.config import FieldClass, class_of
from onerec.errors import ConfigError
from runner.manifest.faults import did_you_mean, dotted, printable, shown
from runner.manifest.keys import OWNERS, STAGES

if TYPE_CHECKING:
    from runner.manifest import LoadedManifest
    from runner.manifest.positions import KeyPath

CLASSES: dict[FieldClass, str] = {
    "result": "changes numbers: what was made with another value is not taken; --rerun STAGE makes it anew",
    "topology": "where it runs: may change whenever a run goes on",
    "speed": "only how fast it is, up to rounding: may change whenever a run goes on",
    "cosmetic": "only what is shown and kept: may change whenever a run goes on",
}
"""What changing a key may change, by its class."""
WIDTH = 100


@dataclass(frozen=True)
class Value:
    """The value that a key has in one place of a manifest."""

    place: str
    value: Any
    origin: str
    """`m.toml:12:1`, `--set ...`, or `default`."""


@dataclass(frozen=True)
class Explanation:
    """One key of one table."""

    key: str
    table: str
    text: str
    takes: str
    default: str
    """As TOML writes it; empty for a key that has none."""
    is_required: bool
    key_class: FieldClass
    values: tuple[Value, ...] = ()

    def document(self) -> dict[str, Any]:
        """The explanation for programs."""
        return {**asdict(self), "values": [asdict(value) for value in self.values]}


def explain(
    key: str, *, manifest: Path | None = None, settings: Sequence[str] = ()
) -> tuple[Explanation, ...]:
    """Each table's key of that name, told in the order of the manifest; raises ConfigError for none."""
    name, tables = _tables_with(key)
    loaded = None
    if manifest is not None:
        from runner.manifest import load  # noqa: PLC0415 - only where there is one

        loaded = load(manifest, settings)
    found = tuple(_explained(name, owner, model, loaded, key) for owner, model in tables)
    there = tuple(one for one in found if one.values)
    return there if there and key.count(".") > 1 else found


def _tables_with(key: str) -> tuple[str, list[tuple[str, type[BaseModel]]]]:
    """The last part of a dotted key, and the tables that have it; those that the key names come first."""
    *above, name = key.strip().strip("[]").split(".")
    found = [(owner, model) for owner, model in OWNERS if name in model.model_fields]
    if not found:
        known = {field for _, model in OWNERS for field in model.model_fields}
        remedy = did_you_mean(name, known) or "runner schema lists all keys"
        raise ConfigError(f"no table has a key '{printable(name)}'; {remedy}")
    own = [(owner, model) for owner, model in found if not (name in _inherited(model) and len(found) > 1)]
    named = [
        (owner, model)
        for owner, model in own
        if above and {above[0], above[-1]}.intersection(re.findall(r"\w+", owner))
    ]
    return name, named or own


def _inherited(model: type[BaseModel]) -> set[str]:
    """Keys that a stage of kind 'train' has from [training], where they are told."""
    training = next(one for owner, one in OWNERS if owner.startswith("[training]"))
    return set(training.model_fields) if model is STAGES["train"] else set()


def _explained(
    name: str, owner: str, model: type[BaseModel], loaded: LoadedManifest | None, key: str
) -> Explanation:
    info, (schema, texts) = model.model_fields[name], _schema()
    table = schema if model.__name__ == "Manifest" else schema["$defs"][model.__name__]
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    return Explanation(
        key=name,
        table=owner,
        text=texts.get(model.__name__, {}).get(name) or str(model.__doc__ or ""),
        takes=takes(table["properties"].get(name, {})),
        default="" if default is None or isinstance(default, BaseModel) else shown(default),
        is_required=info.is_required(),
        key_class=class_of(model, name),
        values=() if loaded is None else tuple(_values(name, model, loaded, key)),
    )


@cache
def _schema() -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    from runner.manifest.schema import field_texts, manifest_schema  # noqa: PLC0415 - reads the sources

    return manifest_schema(), field_texts()


def takes(part: Mapping[str, Any]) -> str:
    """What a JSON Schema takes, in words: `a whole number above 0, or "auto"`."""
    if "anyOf" in part:
        return ", or ".join(takes(one) for one in part["anyOf"])
    if "enum" in part:
        return " or ".join(shown(choice) for choice in part["enum"])
    if "const" in part:
        return shown(part["const"])
    words = {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "string": "a text",
        "array": "a list",
        "object": "a table",
    }
    bounds = {
        "exclusiveMinimum": "above",
        "minimum": "from",
        "exclusiveMaximum": "below",
        "maximum": "to",
    }
    limits = [f"{word} {part[bound]:g}" for bound, word in bounds.items() if bound in part]
    return " ".join([words.get(str(part.get("type")), "a table"), *limits])


def _values(name: str, model: type[BaseModel], loaded: LoadedManifest, key: str) -> Iterator[Value]:
    """The value in each place of the manifest that has this table; only that which a whole path names."""
    for path, table in _places(loaded):
        is_trained = model.__name__ == "Training" and type(table) is STAGES["train"]
        if not (type(table) is model or is_trained) or name not in type(table).model_fields:
            continue
        place = (*path, name)
        if key.count(".") > 1 and dotted(place) != key:
            continue
        yield Value(dotted(place), _plain(getattr(table, name)), _origin(place, loaded))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(below) for name, below in value.items()}
    return value


def _places(loaded: LoadedManifest) -> Iterator[tuple[KeyPath, BaseModel]]:
    """Every table of a manifest with its path."""
    manifest = loaded.manifest
    yield (), manifest
    for key in type(manifest).model_fields:
        table = getattr(manifest, key)
        if isinstance(table, BaseModel):
            yield from _with_tables_below((key,), table)
    for key, tables in (("datasets", manifest.datasets), ("stages", manifest.stages)):
        for name, table in tables.items():
            yield from _with_tables_below((key, name), table)


def _with_tables_below(path: KeyPath, table: BaseModel) -> Iterator[tuple[KeyPath, BaseModel]]:
    yield path, table
    below = {name: getattr(table, name) for name in type(table).model_fields}
    yield from (((*path, name), one) for name, one in below.items() if isinstance(one, BaseModel))


def _origin(place: KeyPath, loaded: LoadedManifest) -> str:
    """Where a value was written: in its table, in [training] for a stage, by --set, or nowhere."""
    source = loaded.source
    for path in (place, ("training", place[-1]) if place[0] == "stages" else place):
        for length in range(len(path), 1 if path[0] == "stages" else 0, -1):
            if path[:length] in source.overrides:
                return f"--set {printable(source.overrides[path[:length]])}"
            if length == len(path) and path in source.positions:
                at = source.positions[path]
                return f"{source.file}:{at.line}:{at.column}"
    return "default"


def explanation_text(found: Sequence[Explanation]) -> str:
    """The explanations for people."""
    return "\n\n".join("\n".join(_lines(one)) for one in found)


def _lines(one: Explanation) -> Iterator[str]:
    yield f"{one.key}    in {one.table}"
    yield from textwrap.wrap(one.text, WIDTH, initial_indent="  ", subsequent_indent="  ")
    yield f"  takes:    {one.takes}"
    default = (
        "none, it must be written" if one.is_required else one.default or "none: the text says what then"
    )
    yield f"  default:  {default}"
    yield f"  class:    {one.key_class}: {CLASSES[one.key_class]}"
    if one.values:
        width = max(len(value.place) for value in one.values)
        for value in one.values:
            told = "not given" if value.value is None else shown(value.value)
            yield f"  {value.place:<{width}} = {told}    {value.origin}"
