"""A parsed TOML document to a manifest, or to the problems that keep it from being one.

Every problem is found in one go: what is wrong is taken out, and the rest is still understood, so that the
rules between tables can be checked as well. No file is read here.
"""

from __future__ import annotations

import copy
import datetime as dt
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from onerec.config import Training
from runner.manifest.faults import Problem, shown
from runner.manifest.keys import kind_of_stage
from runner.manifest.positions import KeyPath
from runner.manifest.rules import check_rules
from runner.manifest.tables import Manifest
from runner.manifest.wording import problem_of_error

Document = dict[str, Any]
"""A parsed TOML text."""


def understand(document: Document) -> tuple[Manifest | None, list[Problem]]:
    """The manifest, defaults of [training] merged into its stages; None as long as there is any problem.

    A path may have more than one problem; the first is the one to tell.
    """
    problems = list(_foreign_values(document))
    sound = _without(document, problems)
    manifest, found = _validate(sound)
    problems += _news(found, document, sound)
    for _ in range(5):  # each round mends what the one before found; what it uncovers is told as well
        if manifest is not None:
            break
        sound = _repaired(sound, found)
        manifest, found = _validate(sound)
        problems += _news(found, document, sound)
    if manifest is not None:
        told = frozenset(problem.path for problem in problems)
        problems += check_rules(manifest, doubtful=told | _lost(document, sound))
    return (None if problems else manifest), problems


def _news(problems: list[Problem], document: Document, sound: Document) -> list[Problem]:
    """The problems that are not about a key being gone, or a table empty, because of what was taken out."""
    return [
        problem
        for problem in problems
        if (_value_at(sound, problem.path) is not None or _value_at(document, problem.path) is None)
        and not (_value_at(sound, problem.path) == {} and _value_at(document, problem.path))
    ]


def merge_training(document: Document) -> Document:
    """The document with the keys of [training] laid under those of every stage of kind "train"."""
    defaults, stages = document.get("training"), document.get("stages")
    if not isinstance(defaults, dict) or not isinstance(stages, dict):
        return document
    merged = {
        name: {**defaults, **stage} if kind_of_stage(document, name) == "train" else stage
        for name, stage in stages.items()
    }
    return {**document, "stages": merged}


def _validate(document: Document) -> tuple[Manifest | None, list[Problem]]:
    problems = list(_problems_of_defaults(document))
    merged = merge_training(document)
    try:
        manifest = Manifest.model_validate_json(json.dumps(merged))
    except ValidationError as fault:
        for error in fault.errors(include_url=False):
            problem = problem_of_error(error, merged, document)
            if problem is not None:
                problems.append(_blame_defaults(problem, document))
        return None, problems
    return (None if problems else manifest), problems


def _problems_of_defaults(document: Document) -> Iterator[Problem]:
    """What is wrong with [training] by itself; it may leave out keys, and stages check how they fit."""
    defaults = document.get("training")
    if not isinstance(defaults, dict):
        return
    try:
        TypeAdapter(Training).validate_json(json.dumps(defaults))
    except ValidationError as fault:
        for error in fault.errors(include_url=False):
            if error["type"] in ("missing", "value_error"):
                continue
            below = {**error, "loc": ("training", *error["loc"])}
            problem = problem_of_error(below, document, document)
            if problem is not None:
                yield problem


def _blame_defaults(problem: Problem, document: Document) -> Problem:
    """The problem moved to [training] when its key was written there and not in the stage."""
    match problem.path:
        case ("stages", name, key, *rest):
            if key not in document["stages"][name] and key in document.get("training", {}):
                place = ("training",) if problem.place == ("stages", name) else None
                return replace(problem, path=("training", key, *rest), place=place)
    return problem


def _foreign_values(value: object, path: KeyPath = ()) -> Iterator[Problem]:
    """Dates, infinities and nan: TOML knows them, no key takes them."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _foreign_values(below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _foreign_values(below, (*path, index))
    elif isinstance(value, (dt.date, dt.time)):
        what = f"{value} is a date or time, which no key takes"
        yield Problem(path, what, "write it in quotes", code="wrong-type")
    elif isinstance(value, float) and not math.isfinite(value):
        yield Problem(path, f"{value} is no finite number", "write a finite one", code="out-of-range")
    elif isinstance(value, int) and abs(value) >= 2**63:
        what = f"{shown(value, 24)} is larger than any number may be"
        yield Problem(path, what, "write one below 2**63", code="out-of-range")


_STAND_INS = {"learning_rate": 1e300, "dataset": "", "sources": "-", "name": "-", "stage": ""}
"""Values of missing keys while rules look at the rest; no path that has a problem is told of again."""


def _repaired(document: Document, problems: list[Problem]) -> Document:
    """The document without what the problems are about; a table that cannot be mended is taken out whole."""
    sound = _without(document, problems)
    for problem in problems:
        table = _value_at(sound, problem.path[:-1])
        missing = isinstance(table, dict) and _value_at(document, problem.path) is None
        if not missing:
            continue
        if problem.path[-1] in _STAND_INS:
            table[problem.path[-1]] = _STAND_INS[str(problem.path[-1])]
        else:
            _remove(sound, problem.path[:2])
    return sound


def _without(document: Document, problems: list[Problem]) -> Document:
    sound = copy.deepcopy(document)
    for problem in sorted(problems, key=lambda problem: len(problem.path), reverse=True):
        _remove(sound, problem.path)
    return sound


def _remove(document: Document, path: KeyPath) -> None:
    """Take a key out of its table; a source in a list is replaced, so that the others keep their places."""
    above = _value_at(document, path[:-1]) if path else None
    if isinstance(above, dict):
        above.pop(path[-1], None)
    elif isinstance(above, list) and "sources" in path:
        above[int(path[-1])] = "-"
    elif isinstance(above, list):
        _remove(document, path[:-1])


def _value_at(document: Any, path: KeyPath) -> Any:
    for part in path:
        inside = isinstance(document, dict) and part in document
        if not inside and not (isinstance(document, list) and isinstance(part, int) and part < len(document)):
            return None
        document = document[part]
    return document


def _lost(document: Document, sound: Document) -> frozenset[KeyPath]:
    """Stages and datasets that were written but could not be understood."""
    return frozenset(
        (table, name)
        for table in ("stages", "datasets")
        if isinstance(document.get(table), dict)
        for name in document[table]
        if _value_at(sound, (table, name)) is None
    )
