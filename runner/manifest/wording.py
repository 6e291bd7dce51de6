"""What pydantic found wrong, in the words of a manifest: a problem with path, message and remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from runner.manifest.faults import Code, Problem, did_you_mean, dotted, printable, shown
from runner.manifest.keys import STAGES, kind_of_stage, remedy_of_unknown
from runner.manifest.positions import KeyPath
from runner.manifest.tables import DATA_OUTPUTS

_WANTED = {
    "sources": 'a text, a table { stage = "...", name = "..." }, or a list of these',
    "dataset": "the name of one of [datasets], or a list of names",
    "nproc_per_node": 'a whole number above 0, or "auto"',
    "nnodes": 'a whole number above 0, or a range such as "1:4"',
    "gpus_per_node": 'a whole number above 0, or a type and a number such as "a100:8"',
    "itemic_id_range": "two whole numbers: the first and the last itemic id",
    "profiler_steps": "two whole numbers above 0: the first and the last step that is traced",
}
"""What a key takes, where no single type tells it."""
_PAIRS = {
    "itemic_id_range": "or remove it: it is derived from [vocab]",
    "profiler_steps": "such as [3, 5]",
}
"""Keys that take two numbers, and the rest of the remedy when they are not what they have to be."""

_TYPES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "tuple_type": "a list",
}
_EXAMPLES = {
    "a whole number": "write one, such as 100",
    "a number": "write one, such as 1e-4",
    "true or false": "write true or false",
    "a text": "write one text in quotes",
    "a list": "write [ ... ]",
}
"""What to write where nothing better is known."""
_TRUTHS = {
    **dict.fromkeys(("true", "yes", "on"), "true"),
    **dict.fromkeys(("false", "no", "off"), "false"),
}
"""Texts that people mean a truth value by."""
_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}
_HOW_TO_ADD = {
    "name": 'add name = "my-run" at the top of the manifest',
    "stages": "add [stages.NAME] with its kind",
    "learning_rate": "add learning_rate = 1e-4 here or in [training]",
    "dataset": "name one of [datasets]",
    "sources": 'add sources = "file_list.json"',
    "kind": "choose one of " + ", ".join(f'"{kind}"' for kind in STAGES),
    "source": 'add source = "movielens-100k"',
    "stage": "name the build_data stage that makes it",
    "source name": "name one of its outputs: " + ", ".join(f'"{name}"' for name in DATA_OUTPUTS),
}


def problem_of_error(
    error: Mapping[str, Any], document: Mapping[str, Any], written: Mapping[str, Any]
) -> Problem | None:
    """The problem that one pydantic error tells; None for an echo of another error of the same value.

    `document` is what pydantic saw; `written` is that without the defaults of [training] in its stages.
    """
    kind, value = str(error["type"]), error["input"]
    path, value_at, in_union = _settle(error, document)
    if kind == "missing" and isinstance(path[-1], str):
        key = "source name" if len(path) > 2 and path[-1] == "name" else path[-1]
        remedy = _HOW_TO_ADD.get(key, "add it")
        return Problem(path, f"missing key {path[-1]!r}", remedy, path[:-1], "missing-key")
    if kind == "extra_forbidden":
        what = f"unknown key {printable(str(path[-1]))!r}"
        return Problem(path, what, remedy_of_unknown(path, document), path[:-1], "unknown-key")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _kind_problem(path, value)
    if kind == "value_error":
        return _rule_problem(path, str(error["ctx"]["error"]), document, written)
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    if key in _WANTED and (in_union or key in _PAIRS):
        return None if _is_echo(error, value_at, path) else _wanted_problem(path, key, value_at)
    message, remedy = _value_words(kind, value, error.get("ctx", {}), path)
    code: Code = "unknown-value" if kind == "literal_error" else "wrong-type"
    return Problem(path, message, remedy, code="out-of-range" if kind in _BOUNDS else code)


def _settle(error: Mapping[str, Any], document: Any) -> tuple[KeyPath, Any, bool]:
    """Path of an error in the document, the value there, and whether it lies in a union of types.

    pydantic puts the kind of a stage and the names of union members into `loc`; the document has neither.
    """
    path: KeyPath = ()
    node, in_union, loc = document, False, error["loc"]
    for index, part in enumerate(loc):
        if index == 2 and loc[0] == "stages" and part == kind_of_stage(document, loc[1]):
            continue
        inside_list = isinstance(node, list) and isinstance(part, int) and part < len(node)
        if inside_list or (isinstance(node, dict) and part in node):
            path, node = (*path, part), node[part]
        elif index == len(loc) - 1 and error["type"] == "missing":
            path = (*path, part)
        else:
            in_union = True
    return path, node, in_union


def _is_echo(error: Mapping[str, Any], value: object, path: KeyPath) -> bool:
    """Whether another member of the union says more exactly what is wrong with the value."""
    if path[-1] != "sources" and "sources" not in path:
        return False
    if error["type"] == "too_short":
        return bool(value)
    return isinstance(value, dict) or (isinstance(value, list) and path[-1] == "sources")


def _wanted_problem(path: KeyPath, key: str, value: object) -> Problem:
    if isinstance(path[-1], int):
        if key in _PAIRS:
            return Problem(path[:-1], f"needs {_WANTED[key]}", _PAIRS[key], code="wrong-type")
        what = f"{shown(value)} is no source"
        return Problem(path, what, "write a text or { stage, name }", code="wrong-type")
    is_number = isinstance(value, str) and _reads_as(value, "a whole number") and key != "sources"
    remedy = f"write {value} without quotes" if is_number else f"write {_WANTED[key]}"
    return Problem(path, f"{shown(value)} does not fit", remedy, code="wrong-type")


def _kind_problem(path: KeyPath, stage: object) -> Problem:
    kinds = " or ".join(f'"{kind}"' for kind in STAGES)
    kind = stage.get("kind") if isinstance(stage, Mapping) else None
    if kind is None:
        return Problem((*path, "kind"), "missing key 'kind'", f"write kind = {kinds}", path, "missing-key")
    remedy = did_you_mean(kind, STAGES) if isinstance(kind, str) else ""
    what = f"{shown(kind)} is no kind of stage"
    return Problem((*path, "kind"), what, remedy or f"write {kinds}", code="unknown-value")


def _rule_problem(path: KeyPath, text: str, document: Any, written: Any) -> Problem:
    """A broken rule of one table, told at the first key that the rule names: one of its own, or a default."""
    message, _, remedy = text.rpartition("; ")
    keys = re.findall(r"[a-z][a-z0-9_]*", text)
    named = [key for table in (written, document) for key in keys if key in _table(table, path)]
    at = (*path, named[0]) if named else path
    return Problem(at, message or text, remedy if message else "", path)


def _table(document: Any, path: KeyPath) -> Mapping[str, object]:
    for part in path:
        document = document[part]
    return document if isinstance(document, Mapping) else {}


def _value_words(kind: str, value: object, ctx: Mapping[str, Any], path: KeyPath) -> tuple[str, str]:
    """Message and remedy for a value of the wrong type or size."""
    if kind in _TYPES:
        return f"{shown(value)} is not {_TYPES[kind]}", _retyped(kind, value, path)
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"{shown(value)} is out of range", f"write a number {words} {ctx[key]:g}"
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", str(ctx["expected"]))
        near = did_you_mean(value, choices) if isinstance(value, str) else ""
        choice = " or ".join(f'"{word}"' for word in choices)
        return f"{shown(value)} is not known", f"{near} " * bool(near) + f"write {choice}"
    if kind == "too_short":
        return "is empty", _HOW_TO_ADD.get(str(path[-1]), "write at least one")
    return str(ctx.get("error", kind)), ""


def _retyped(kind: str, value: object, path: KeyPath) -> str:
    """How to write the value so that it has the type that was wanted."""
    wanted = _TYPES[kind]
    if wanted == "a table":
        return _HOW_TO_ADD["stages"] if path == ("stages",) else f"write [{dotted(path)}] and its keys below"
    plain = _as_wanted(value, wanted)
    if plain:
        return plain
    return "write seconds, such as 600" if str(path[-1]).endswith("_seconds") else _EXAMPLES[wanted]


def _as_wanted(value: object, wanted: str) -> str:
    """The same value in the wanted type, where that is plain."""
    if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], dict):
        return f"write {shown(value[0])} without brackets"
    if isinstance(value, str):
        return _text_as_wanted(value, wanted)
    if wanted == "a text" and isinstance(value, (int, float)):
        return f'write "{shown(value)}", with quotes'
    if wanted == "a whole number" and isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return f"write {int(value)}"
    return ""


def _text_as_wanted(text: str, wanted: str) -> str:
    if wanted == "a list":
        return f"write [{', '.join(shown(word) for word in text.split())}]"
    if wanted == "true or false" and text.lower() in _TRUTHS:
        return f"write {_TRUTHS[text.lower()]} without quotes"
    return f"write {text} without quotes" if _reads_as(text, wanted) else ""


def _reads_as(text: str, wanted: str) -> bool:
    pattern = r"[+-]?[0-9_]+" if wanted == "a whole number" else r"[+-]?[0-9_.]+([eE][+-]?[0-9]+)?"
    return wanted in ("a whole number", "a number") and re.fullmatch(pattern, text) is not None
