"""What differs between two runs, a run and a manifest, or two manifests; and between the results of two runs.

A key of a manifest stands under what changing it may change: results, topology, speed, or only what is shown.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from runner.curves import finite, tail_rows
from runner.flat import differences, flat, label, leaves
from runner.history import fold
from runner.journal import read
from runner.manifest import load
from runner.manifest.keys import class_of_key
from runner.measured import measured, title_of
from runner.observe import observe, read_document
from runner.printable import printable
from runner.report import duration, table
from runner.rundir import RunDir, find_run
from runner.story import tell

SCHEMA_VERSION = 1
CLASSES = {
    "result": "manifest, keys that may change results",
    "topology": "manifest, shape of the cluster",
    "speed": "manifest, speed only",
    "cosmetic": "manifest, only what is shown or kept",
}
PARTS = {"packages": "packages", "code": "code", "hosts": "hosts and GPUs", "commands": "commands"}
FIGURES = ("steps", "loss", "validation loss", "hit rate", "tokens", "seconds", "tokens/s")
_WHOLE = frozenset({"steps", "tokens", "tokens/s"})
OF_THE_MACHINE = frozenset({"seconds", "tokens/s"})
"""Results that differ each time, which makes two runs no different."""


class Change(TypedDict):
    """One key with its value on each side; None: not there."""

    key: str
    a: object
    b: object


class ResultChange(TypedDict):
    """One figure of a stage on each side."""

    stage: str
    figure: str
    a: float | None
    b: float | None
    difference: float | None


class Difference(TypedDict):
    """The fixed form of `diff --json`."""

    schema_version: int
    equal: bool
    a: dict[str, str]
    b: dict[str, str]
    manifest: dict[str, list[Change]]
    """By class of key: result, topology, speed, cosmetic."""
    packages: list[Change]
    code: list[Change]
    hosts: list[Change]
    commands: list[Change]
    results: list[ResultChange]


@dataclass(frozen=True)
class Side:
    """A run or a manifest, as far as it is compared."""

    kind: str
    """run or manifest."""
    name: str
    path: str
    manifest: Mapping[str, object]
    """As understood."""
    environment: Mapping[str, object] = field(default_factory=dict)
    commands: Mapping[str, object] = field(default_factory=dict)
    """By step."""
    results: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    """Figures by stage."""


def side_of(text: str) -> Side:
    """What a person means: a file is a manifest, anything else a run; raises ConfigError for neither."""
    if Path(text).is_file():
        loaded = load(Path(text))
        return Side("manifest", loaded.manifest.name, text, loaded.resolved)
    run = find_run(text, may_lack_journal=True)
    return Side(
        "run",
        run.name,
        str(run.path),
        manifest=read_document(run.resolved),
        environment=read_document(run.environment),
        commands=_commands(run),
        results=dict(_results(run)),
    )


def compare(a: Side, b: Side) -> Difference:
    """Everything that differs; what a manifest alone cannot tell is not compared."""
    both_ran = a.kind == b.kind == "run"
    parts = {name: _changes(_part(a, name), _part(b, name)) if both_ran else [] for name in PARTS}
    manifest = _by_class(a.manifest, b.manifest)
    results = list(_result_changes(a, b)) if both_ran else []
    differs = [one for one in results if one["difference"] != 0 and one["figure"] not in OF_THE_MACHINE]
    return {
        "schema_version": SCHEMA_VERSION,
        "equal": not (differs or any(parts.values()) or any(manifest.values())),
        "a": {"kind": a.kind, "name": a.name, "path": a.path},
        "b": {"kind": b.kind, "name": b.name, "path": b.path},
        "manifest": manifest,
        "packages": parts["packages"],
        "code": parts["code"],
        "hosts": parts["hosts"],
        "commands": parts["commands"],
        "results": results,
    }


def difference_text(found: Difference) -> str:
    """The same for people."""
    lines = [f"{side}: {found[side]['kind']} {found[side]['path']}" for side in ("a", "b")]
    groups = [(title, found["manifest"][name]) for name, title in CLASSES.items()]
    groups += [(title, found[name]) for name, title in PARTS.items()]  # type: ignore[literal-required]
    for title, changes in groups:
        show = _command_lines if title == PARTS["commands"] else _change_lines
        if changes:
            lines += ["", f"{title}:", *(line for change in changes for line in show(change))]
    if found["results"]:
        lines += ["", *table([("results", "figure", "a", "b", "difference"), *map(_row, found["results"])])]
    if found["equal"]:
        lines += ["", "nothing differs" + (" but time and speed" if found["results"] else "")]
    return "\n".join(lines)


def _part(side: Side, name: str) -> dict[str, object]:
    """What one side has of packages, code, hosts or commands, by key."""
    if name == "commands":
        return dict(side.commands)
    told = side.environment
    if name == "packages":
        return {**flat(told.get("packages") or {}), "python": str(told.get("python", "")).partition(" ")[0]}
    if name == "code":
        git = told.get("git")
        return flat(git) if isinstance(git, dict) else {"revision": None}
    return {key: told.get(key) for key in ("host", "platform", "cpu_count", "gpus")}


def _changes(a: Mapping[str, object], b: Mapping[str, object]) -> list[Change]:
    return [{"key": key, "a": old, "b": new} for key, old, new in differences(a, b)]


def _by_class(a: Mapping[str, object], b: Mapping[str, object]) -> dict[str, list[Change]]:
    """Changed keys by class; a key that no table knows may change results."""
    found: dict[str, list[Change]] = {name: [] for name in CLASSES}
    old, new = leaves(a), leaves(b)
    for path in sorted(old.keys() | new.keys(), key=label):
        if old.get(path) != new.get(path):
            name = class_of_key(path, b if path in new else a)
            found[name].append({"key": label(path), "a": old.get(path), "b": new.get(path)})
    return found


def _commands(run: RunDir) -> dict[str, object]:
    """The newest command of each step, without what is another for each run and attempt."""
    events = read(run.events)
    folders = {step["name"]: step["folder"] for step in fold(events).steps}
    found: dict[str, object] = {}
    for attempt in tell(events).attempts:
        text = "\n".join(shlex.join(command) for command in attempt.argv)
        config = f"/{folders.get(attempt.step)}/config.json"
        words = [word for command in attempt.argv for word in command if word.endswith(config)]
        place = words[0].removesuffix(config) if words else str(run.path)  # the run may have been moved since
        found[attempt.step] = re.sub(r"attempt-\d+", "attempt-N", text.replace(place, "RUN"))
    return found


def _results(run: RunDir) -> Iterator[tuple[str, dict[str, float | None]]]:
    """The figures of each training stage that has begun, and of each evaluation that is done."""
    for stage in observe(run)["stages"]:
        if stage["kind"] == "evaluate" and stage["state"] == "done":
            yield stage["name"], _measured_figures(run, stage["name"])
        if stage["kind"] == "train" and stage["state"] not in {"pending", "stale"}:
            rows = tail_rows(run.stage(stage["name"]).metrics)
            yield (
                stage["name"],
                {
                    "steps": finite(stage["step"]),
                    "loss": stage["loss"],
                    "validation loss": stage["validation_loss"],
                    "hit rate": stage["hit_rate"],
                    "tokens": finite(rows[-1].get("total_tokens")) if rows else None,
                    "seconds": stage["running_seconds"],
                    "tokens/s": stage["tokens_per_second"],
                },
            )


def _measured_figures(run: RunDir, stage: str) -> dict[str, float | None]:
    """Every figure of every model."""
    found = measured(read_document(run.stage(stage).result))
    rows = found.rows if found else ()
    return {
        f"{row.model} {title_of(name)}": figure.value for row in rows for name, figure in row.figures.items()
    }


def _result_changes(a: Side, b: Side) -> Iterator[ResultChange]:
    """All figures of all stages, side by side, equal ones too."""
    for stage in dict.fromkeys([*a.results, *b.results]):
        first, second = a.results.get(stage, {}), b.results.get(stage, {})
        known = [figure for figure in FIGURES if figure in first or figure in second]
        for figure in dict.fromkeys([*known, *first, *second]):
            old, new = first.get(figure), second.get(figure)
            if old is not None or new is not None:
                change = new - old if old is not None and new is not None else None
                yield {"stage": stage, "figure": figure, "a": old, "b": new, "difference": change}


def _change_lines(change: Change) -> list[str]:
    old, new = _shown(change["a"]), _shown(change["b"])
    if len(change["key"]) + len(old) + len(new) <= 100:
        return [f"  {printable(change['key'])}: {old} -> {new}"]
    return [f"  {printable(change['key'])}:", f"    a: {old}", f"    b: {new}"]


def _command_lines(change: Change) -> list[str]:
    """Only the words that differ: a command is long, and mostly the same."""
    old, new = str(change["a"] or "").split(), str(change["b"] or "").split()
    if not old or not new:
        return [f"  {printable(change['key'])}: only in {'a' if old else 'b'}"]
    gone = [f"    a: {printable(word)}" for word in old if word not in new]
    come = [f"    b: {printable(word)}" for word in new if word not in old]
    return [f"  {printable(change['key'])}:", *(gone + come or ["    the same words in another order"])]


def _row(change: ResultChange) -> tuple[str, ...]:
    old, new, by = change["a"], change["b"], change["difference"]
    share = f" ({by / old:+.1%})" if by and old else ""
    told = "" if by is None else (f"{_figure(change['figure'], by, sign='+')}{share}" if by else "none")
    figure = change["figure"]
    return printable(change["stage"]), printable(figure), _figure(figure, old), _figure(figure, new), told


def _figure(name: str, value: float | None, *, sign: str = "") -> str:
    if value is None:
        return "-"
    if name == "seconds":
        mark = "" if not sign else "-" if value < 0 else "+"
        return mark + duration(abs(value))
    return f"{value:{sign},.0f}" if name in _WHOLE else f"{value:{sign}.4f}"


def _shown(value: object) -> str:
    return "(not there)" if value is None else printable(str(value))
