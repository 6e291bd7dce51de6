"""What fits next on a command line of the runner, for a shell that asks at each TAB; it has to be fast.

Verbs and options come from the parsers themselves; names of runs, stages and steps from the run directories.
Names that a run, stage or dataset cannot have are never offered: a folder may be called anything.
"""

from __future__ import annotations

import json
import re
from argparse import Action, ArgumentParser
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onerec.errors import ConfigError
from runner.cli.arguments import VERBS, parser_of
from runner.rundir import RunDir, find_run

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")

BASH = """\
# Completion of `runner` for bash: source <(runner completion bash), or put this where bash looks for it.
_runner() {
    local IFS=$'\\n' found
    found=$(printf '%s\\n' "${COMP_WORDS[@]:0:COMP_CWORD+1}" |
        "${COMP_WORDS[0]}" completion words 2>/dev/null)
    mapfile -t COMPREPLY < <(compgen -W "$found" -- "${COMP_WORDS[COMP_CWORD]}")
}
complete -o default -F _runner runner
"""
ZSH = """\
#compdef runner
# Completion of `runner` for zsh: source <(runner completion zsh), after compinit.
_runner() {
    local -a found
    found=("${(@f)$(print -rl -- "${(@)words[1,CURRENT]}" | "${words[1]}" completion words 2>/dev/null)}")
    if [[ -n "${found[*]}" ]]; then compadd -a found; else _files; fi
}
compdef _runner runner
"""
FISH = """\
# Completion of `runner` for fish: runner completion fish | source
function __runner_words
    set -l found (begin; commandline -opc; commandline -ct; end | runner completion words 2>/dev/null)
    test (count $found) -gt 0; and printf '%s\\n' $found; or __fish_complete_path (commandline -ct)
end
complete -c runner -k -f -a '(__runner_words)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
"""The script for each shell. They ask for words that fit; where there are none the shell offers files."""


@dataclass
class _Line:
    """A command line up to the word at the cursor, as far as it could be read."""

    verb: str
    parser: ArgumentParser
    places: list[str] = field(default_factory=list)
    """Words that belong to no option."""
    given: dict[str, str] = field(default_factory=dict)
    """Values of options, by the name that the option has in the parser."""
    awaits: Action | None = None
    """The option whose value is at the cursor."""


def candidates(typed: Sequence[str]) -> list[str]:
    """The words that fit at the cursor: `typed` is the program, and all words up to the one there."""
    *before, current = typed[1:] or [""]
    if not before:
        return _starting([*VERBS, *_manifests(current)], current)
    line = _read(before)
    if line.awaits is not None:
        return _starting(_values(line, line.awaits), current)
    if current.startswith("-"):
        return _starting(_options(line.parser), current)
    wanted = _place(line)
    return [] if wanted is None else _starting(_values(line, wanted, current), current)


def _read(words: list[str]) -> _Line:
    verb = words[0] if words[0] in VERBS else "run"
    line = _Line(verb, parser_of(verb))
    for word in words[1:] if words[0] in VERBS else words:
        option = _option(line.parser, word)
        if line.awaits is not None:
            line.given[line.awaits.dest] = word
            line.awaits = None
        elif option is not None:
            line.awaits = None if option.nargs == 0 else option
        elif not word.startswith("-"):
            line.places.append(word)
    return line


def _options(parser: ArgumentParser) -> list[str]:
    return sorted(
        name for action in actions(parser) for name in action.option_strings if name.startswith("--")
    )


def actions(parser: ArgumentParser) -> list[Action]:
    """Options and places of a parser."""
    return parser._actions  # noqa: SLF001 - argparse has no other list of them


def _option(parser: ArgumentParser, word: str) -> Action | None:
    return next((action for action in actions(parser) if word in action.option_strings), None)


def _place(line: _Line) -> Action | None:
    """The place that the next word without an option takes."""
    places = [action for action in actions(line.parser) if not action.option_strings]
    if len(line.places) < len(places):
        return places[len(line.places)]
    return places[-1] if places and places[-1].nargs in ("+", "*") else None


def _values(line: _Line, action: Action, current: str = "") -> Iterable[str]:
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    if action.dest in ("manifest", "a", "b"):
        return [*(_runs(line) if action.dest != "manifest" else []), *_manifests(current)]
    source = _SOURCES.get(action.dest)
    return [] if source is None else source(line)


def _runs(_: _Line) -> list[str]:
    """Runs below runs/, the newest first."""
    found = [path.parent for path in Path("runs").glob("*/events.jsonl") if not path.parent.is_symlink()]
    return [
        path.name
        for path in sorted(found, key=lambda path: -path.stat().st_mtime)
        if _NAME.fullmatch(path.name)
    ]


def _stages(line: _Line) -> list[str]:
    """Stages of the run that the line names, or of its manifest."""
    if "manifest" in {action.dest for action in actions(line.parser)}:
        return _tables(line, "stages")
    run = _run(line)
    document = _json(run.resolved) if run else {}
    order = document.get("stage_order")
    return _names(order if isinstance(order, list) else [])


def _datasets(line: _Line) -> list[str]:
    return _tables(line, "datasets")


def _tables(line: _Line, key: str) -> list[str]:
    """Names of the tables below a key of the manifest that the line names."""
    import tomli  # noqa: PLC0415 - only where a manifest is looked at

    try:
        document = tomli.loads(Path(line.places[0]).read_text(encoding="utf-8"))
    except (OSError, ValueError, IndexError):
        return []
    tables = document.get(key)
    return _names(tables if isinstance(tables, dict) else [])


def _steps(line: _Line) -> list[str]:
    """Steps of the checkpoints of the stage that the line names, or of all stages, the newest first."""
    run = _run(line)
    stages = [line.given["stage"]] if "stage" in line.given else _stages(line)
    if run is None:
        return []
    found = {step for stage in stages if _NAME.fullmatch(stage) for step in run.stage(stage).checkpoints()}
    return [str(step) for step in sorted(found, reverse=True)]


def _run(line: _Line) -> RunDir | None:
    try:
        return find_run(line.places[0] if line.places else None)
    except (ConfigError, OSError):
        return None


def _json(path: Path) -> dict[str, object]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _manifests(current: str) -> list[str]:
    """TOML files and folders that begin like a word."""
    folder = Path(current).parent if not current.endswith("/") else Path(current)
    try:
        found = sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
    except OSError:
        return []
    return [
        f"{path}/" if path.is_dir() else str(path)
        for path in found
        if path.is_dir() or path.suffix == ".toml"
    ]


def _names(names: Iterable[object]) -> list[str]:
    return [name for name in names if isinstance(name, str) and _NAME.fullmatch(name)]


def _starting(words: Iterable[str], current: str) -> list[str]:
    return [word for word in words if word.startswith(current)]


_SOURCES: dict[str, Callable[[_Line], list[str]]] = {
    "run": _runs,
    "model_or_run": _runs,
    "build_or_run": _runs,
    "stage": _stages,
    "rerun": _stages,
    "dataset": _datasets,
    "step": _steps,
}
"""Where the values of an option or place come from, by its name in the parser."""
