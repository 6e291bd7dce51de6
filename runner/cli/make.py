"""The verbs that help to write a manifest: new, explain, schema; and completion, for the shell."""
# ruff: noqa: PLC0415 - heavy parts are imported by the verbs that need them, so that `status` answers at once

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from onerec.errors import ConfigError
from runner.cli.options import add_json
from runner.cli.say import as_json, say, write

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def new_arguments(parser: ArgumentParser) -> None:
    """Options of `new`."""
    what = "a Hugging Face folder of a Qwen3; without DATA what is to be copied: runner new --list"
    parser.add_argument("model", metavar="MODEL_DIR", nargs="?", help=what)
    parser.add_argument(
        "data", metavar="DATA", nargs="?", help="a parquet file, folder, glob, file list or URL"
    )
    parser.add_argument("--name", help="name of the run; default: the folder's")
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="file to write, which must not be there; default: NAME.toml",
    )
    parser.add_argument(
        "--list", dest="lists", action="store_true", help="list what is shipped and can be copied"
    )


def new(arguments: Namespace) -> int:
    """Write a manifest, or copy one that is shipped."""
    from runner.new.write import copy_shipped, next_step, shipped_lines, write_new

    if arguments.lists:
        say("\n".join(shipped_lines()))
        return 0
    if arguments.model is None:
        raise ConfigError("name a model folder and data, or a manifest that is shipped: runner new --list")
    if arguments.data is None:
        path = copy_shipped(arguments.model, arguments.output)
    else:
        path = write_new(
            Path(arguments.model),
            arguments.data,
            name=arguments.name,
            output=arguments.output,
            env=os.environ,
        )
    say(f"{path}\n{next_step(arguments.model, path)}")
    return 0


def explain_arguments(parser: ArgumentParser) -> None:
    """Options of `explain`."""
    parser.add_argument("key", metavar="KEY", help="a key, such as learning_rate or stages.sft.learning_rate")
    text = "tell the key's value in this manifest, and where it comes from"
    parser.add_argument("manifest", metavar="MANIFEST", nargs="?", type=Path, help=text)
    parser.add_argument(
        "--set", dest="settings", metavar="KEY=VALUE", action="append", default=[], help="as for a run"
    )
    add_json(parser)


def explain(arguments: Namespace) -> int:
    """Tell what a key means."""
    from runner.explain import explain, explanation_text

    found = explain(arguments.key, manifest=arguments.manifest, settings=arguments.settings)
    say(as_json([one.document() for one in found]) if arguments.as_json else explanation_text(found))
    return 0


def schema_arguments(parser: ArgumentParser) -> None:
    """`schema` has no options."""


def schema(_: Namespace) -> int:
    """Print the JSON Schema of a manifest."""
    from runner.manifest.schema import SCHEMA_PATH

    write(SCHEMA_PATH.read_text(encoding="utf-8"))
    return 0


def completion_arguments(parser: ArgumentParser) -> None:
    """Options of `completion`."""
    parser.add_argument(
        "shell",
        choices=("bash", "zsh", "fish", "words"),
        help="which shell; words: what fits after the words on stdin, which the scripts ask for",
    )


def completion(arguments: Namespace) -> int:
    """Print a completion script, or what it asks for."""
    from runner.complete import SCRIPTS, candidates

    if arguments.shell == "words":
        typed = sys.stdin.read().removesuffix("\n").split("\n")
        write("".join(f"{word}\n" for word in candidates(typed)))
    else:
        write(SCRIPTS[arguments.shell])
    return 0
