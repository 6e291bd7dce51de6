"""`--set stages.stage2.learning_rate=5e-5`: a dotted place and a TOML value laid over a parsed manifest."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

import tomli

from runner.manifest.faults import Problem, did_you_mean, dotted, listed, printable
from runner.manifest.positions import KeyPath

_QUOTED = re.compile(r"""\s*["'\[{]""")


def apply_overrides(
    document: dict[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], dict[KeyPath, str], list[Problem]]:
    """The document with every override applied, each by the path it sets, and what is wrong with the others.

    A later override of the same path wins. The document that was given stays as it is.
    """
    changed = copy.deepcopy(document)
    applied: dict[KeyPath, str] = {}
    problems: list[Problem] = []
    for override in overrides:
        problem = _apply(override, changed, applied)
        if problem is not None:
            problems.append(problem)
    return changed, applied, problems


def _apply(override: str, document: dict[str, Any], applied: dict[KeyPath, str]) -> Problem | None:
    try:
        path, value = parse_override(override)
        _set(document, path, value)
    except ValueError as fault:
        message, _, remedy = str(fault).rpartition("; ")
        applied[("--set", override)] = override
        return Problem(("--set", override), message, remedy, (), "override")
    applied[path] = override
    return None


def parse_override(override: str) -> tuple[KeyPath, Any]:
    """Path and value of `a.b=value`; text that is no TOML value is a string, unless it begins as one would.

    Raises ValueError when the place or the value cannot be read.
    """
    place, equals, text = override.partition("=")
    if not equals:
        raise ValueError("there is no '='; write it as stages.stage2.learning_rate=5e-5")
    path = _path(place)
    try:
        read = tomli.loads(f"value = {text}")
    except (ValueError, RecursionError) as fault:
        if _QUOTED.match(text) or "\n" in text or not text.strip():
            raise ValueError(
                f"{printable(text)!r} is no TOML value; quote it for the shell and for TOML"
            ) from fault
        return path, text.strip()
    if set(read) != {"value"}:
        raise ValueError("there is more than one value; give one --set for each")
    return path, read["value"]


def _path(place: str) -> KeyPath:
    try:
        node: Any = tomli.loads(f"{place} = 0")
    except (ValueError, RecursionError):
        node = None
    path: KeyPath = ()
    while isinstance(node, dict) and len(node) == 1:
        key, node = next(iter(node.items()))
        path = (*path, key)
    if node != 0 or not path or "\n" in place:
        raise ValueError(f"{printable(place)!r} is no place; write it as stages.stage2.learning_rate")
    return path


def _set(document: dict[str, Any], path: KeyPath, value: Any) -> None:
    node: Any = document
    for depth, part in enumerate(path[:-1], start=1):
        if depth == 2 and path[0] in ("stages", "datasets") and part not in node:
            remedy = did_you_mean(str(part), node) or f"there are {listed(node)}"
            raise ValueError(f"there is no {dotted(path[:2])}; {remedy}")
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise ValueError(f"{dotted(path[:depth])} is no table; set it as a whole")  # noqa: TRY004 - a value
    node[path[-1]] = value
