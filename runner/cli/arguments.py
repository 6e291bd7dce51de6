"""The command line of every verb: which there are, what its help says, and where it is.

argparse, and only the parser of the verb that was called: `status` has to answer at once, and loading typer
would alone take most of that time.
"""

from __future__ import annotations

import importlib
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence

TRACEBACK = "--traceback"

USAGE = """usage: runner MANIFEST | runner VERB ...

Bring the training programme that a manifest describes to its end. The verbs:

{verbs}

`runner VERB --help` tells more. --traceback, with any verb, shows where a fault was found.
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
    "preview": ("ahead", "show samples of a dataset as they are trained, and the packs that hold them"),
    "shard": ("models", "merge parquet trees and split them into files of equal numbers of rows"),
    "logs": ("watch", "show what a stage wrote; default: the one started last"),
    "stop": ("bring", "stop a run at the next step boundary, with a checkpoint"),
    "doctor": ("watch", "check a run directory from outside: what is damaged, what is left over, what to do"),
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
    module, explanation = VERBS[verb]
    parser = ArgumentParser(prog=f"runner {verb}", description=explanation, allow_abbrev=False)
    add_arguments, act = _functions(module, verb.replace("-", "_"))
    add_arguments(parser)
    parsed = parser.parse_intermixed_args(rest)
    parsed.verb, parsed.act, parsed.traceback = verb, act, TRACEBACK in arguments
    return parsed


def overview() -> str:
    """All verbs with one line each."""
    return USAGE.format(verbs="\n".join(f"  {verb:<11} {text}" for verb, (_, text) in VERBS.items()))


def _functions(module: str, name: str) -> tuple[Callable[[ArgumentParser], None], Callable[[Namespace], int]]:
    """What adds the options of a verb, and what does it; the module is loaded only now."""
    loaded = importlib.import_module(f"runner.cli.{module}")
    return getattr(loaded, f"{name}_arguments"), getattr(loaded, name)
