"""The command line of every verb: which there are, what its help says, and where it is.

argparse, and only the parser of the verb that was called: `status` has to answer at once, and loading typer
would alone take most of that time.
"""

from __future__ import annotations

import difflib
import importlib
import textwrap
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path

from runner.cli import help  # noqa: A004 - what it is
from runner.printable import printable

TRACEBACK = "--traceback"

USAGE = """usage: runner MANIFEST | runner VERB ...

Bring the training programme that a manifest describes to its end.

{verbs}

`runner VERB --help` tells more, with examples. --traceback, with any verb, shows where a fault was found.
Answers are on stdout, with --json for programs; what is wrong is on stderr. Exit codes: {codes}.
"""

VERBS: dict[str, tuple[str, str]] = {
    "run": ("bring", "bring the run of a manifest to its end: do what is left, skip what is done"),
    "plan": ("ahead", "show every step, what it reads and writes and what would be done; start nothing"),
    "check": ("ahead", "look for everything that would keep the run from starting, or spoil it"),
    "status": ("watch", "show how far a run is, its loss, time left, checkpoints, and why it is not well"),
    "report": ("runs", "write one HTML page about a run, that opens without a network"),
    "list": ("runs", "show all runs: how each stands, its size, and which are damaged"),
    "diff": ("runs", "show what differs between two runs or manifests, and between their results"),
    "resume": ("bring", "go on from the run directory's own record"),
    "convert": ("models", "write one checkpoint as a Hugging Face folder; the run may go on meanwhile"),
    "test-model": ("models", "load a model, run it, generate text and chat, and tell whether it is sound"),
    "evaluate": ("items", "measure a model on held-out events, beside simple models of the same data"),
    "recommend": ("items", "have a model recommend items to users that are given by their histories"),
    "encode": ("items", "give new items ids by the codebooks of a build_data stage"),
    "preview": ("ahead", "show samples of a dataset as they are trained, and the packs that hold them"),
    "shard": ("models", "merge parquet trees and split them into files of equal numbers of rows"),
    "logs": ("watch", "show what a stage wrote; default: the one started last"),
    "stop": ("bring", "stop a run at the next step boundary, with a checkpoint"),
    "doctor": ("watch", "check a run directory from outside: what is damaged, what is left over, what to do"),
    "new": ("make", "write a commented manifest for a model folder and data, or copy a shipped one"),
    "explain": ("make", "tell what a key of a manifest means, its default, and its value in a manifest"),
    "schema": ("make", "print the JSON Schema of a manifest, for editors"),
    "completion": ("make", "print what makes a shell complete verbs, options, runs, stages and steps"),
}
"""Each verb with the module of this package that has it, and its explanation; the module has a function of
the verb's name and one of that name and `_arguments`, both with `_` for `-`."""


def parse(arguments: Sequence[str]) -> Namespace | None:
    """The verb, its options, and as `act` what does it; None when the overview is wanted.

    Ends the process with exit code 2 and a message for a wrong call, with 0 after a verb's help.
    """
    rest = [argument for argument in arguments if argument != TRACEBACK]
    if not rest or rest[0] in {"-h", "--help"}:
        return None
    verb = rest.pop(0) if rest[0] in VERBS else "run"
    parser = parser_of(verb)
    if verb == "run" and rest:
        _refuse_misspelt(rest[0])
    parsed = parser.parse_intermixed_args(rest)
    parsed.verb, parsed.act, parsed.traceback = verb, _functions(verb)[1], TRACEBACK in arguments
    return parsed


def parser_of(verb: str) -> ArgumentParser:
    """The options of a verb and its help; its module is loaded."""
    texts = {name: text for name, (_, text) in VERBS.items()}
    parser = ArgumentParser(
        prog=f"runner {verb}",
        description=help.description(verb, texts[verb]),
        epilog=help.epilog(verb, texts),
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _functions(verb)[0](parser)
    return parser


def _refuse_misspelt(word: str) -> None:
    """End with a message when the word for a manifest looks like a verb, and no such file is there."""
    if word.startswith("-") or "/" in word or "." in word or Path(word).exists():
        return
    near = difflib.get_close_matches(word, VERBS, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else "`runner --help` lists the verbs"
    told = ArgumentParser(prog="runner", usage="runner MANIFEST | runner VERB ...")
    told.error(f"'{printable(word)}' is no verb and no manifest; {remedy}")


def overview() -> str:
    """All verbs with one line each."""
    codes = ", ".join(f"{number} {text}" for number, text in help.CODES.items())
    usage = USAGE.format(verbs=help.overview({verb: text for verb, (_, text) in VERBS.items()}), codes=codes)
    lines = [
        textwrap.fill(line, help.width()) if len(line) > help.width() else line for line in usage.split("\n")
    ]
    return "\n".join(lines)


def _functions(verb: str) -> tuple[Callable[[ArgumentParser], None], Callable[[Namespace], int]]:
    """What adds the options of a verb, and what does it; the module is loaded only now."""
    loaded = importlib.import_module(f"runner.cli.{VERBS[verb][0]}")
    name = verb.replace("-", "_")
    return getattr(loaded, f"{name}_arguments"), getattr(loaded, name)
