"""The verbs that ask about items: evaluate, recommend, encode."""
# ruff: noqa: PLC0415 - heavy parts are imported by the verbs that need them, so that `status` answers at once

from __future__ import annotations

import os
import sys
from argparse import ArgumentTypeError
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from onerec.config import BASELINES, Evaluation
from onerec.errors import ConfigError
from runner.cli.options import add_json, add_stage, local, positive
from runner.cli.say import as_json, say

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

MODEL = "a model folder, a training stage's folder, or a run: then its newest model"


def evaluate_arguments(parser: ArgumentParser) -> None:
    """Options of `evaluate`."""
    parser.add_argument("model_or_run", metavar="DIR", help=MODEL)
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        type=Path,
        help="folder rows/ of a build_data stage; default: that of the run which DIR lies in",
    )
    parser.add_argument(
        "--baselines",
        metavar="NAMES",
        type=baselines,
        default=(),
        help=f"simple models to measure too, with commas: {','.join(BASELINES)}; default: none",
    )
    parser.add_argument(
        "--split", choices=("validation", "test"), default="test", help="held-out events; default: test"
    )
    parser.add_argument(
        "--top-k",
        metavar="K,K",
        type=numbers,
        default=Evaluation().top_k,
        help="lengths of the lists, with commas; default: 5,10,20",
    )
    parser.add_argument(
        "--max-users", metavar="N", type=positive, help="ask so many users, drawn by the seed; default: all"
    )
    _add_device(parser)
    parser.add_argument("--output", metavar="FILE", type=Path, help="also write all figures there, as JSON")
    add_json(parser)


def evaluate(arguments: Namespace) -> int:
    """Measure a model on held-out events."""
    from runner.recommenders import evaluate, find_model

    if arguments.output is not None and not arguments.output.absolute().parent.is_dir():
        raise ConfigError(f"{arguments.output.parent} is no folder; choose another --output")
    code, found = evaluate(
        find_model(arguments.model_or_run),
        built_dir=arguments.data,
        split=arguments.split,
        evaluation=Evaluation(
            top_k=arguments.top_k,
            num_beams=max(Evaluation().num_beams, *arguments.top_k),
            baselines=arguments.baselines,
            max_users=arguments.max_users,
        ),
        device=arguments.device,
        env=os.environ,
        shows_output=not arguments.as_json,  # which ends with the table
    )
    if code == 0 and arguments.output is not None:
        arguments.output.write_text(as_json(found) + "\n", encoding="utf-8")
    if code == 0 and arguments.as_json:
        say(as_json({"schema_version": 1, **found}))
    return code


def recommend_arguments(parser: ArgumentParser) -> None:
    """Options of `recommend`."""
    parser.add_argument("model_or_run", metavar="DIR", help=MODEL)
    parser.add_argument(
        "--history",
        metavar="PID,PID",
        action="append",
        required=True,
        help="items that a user met, oldest first; again for more users; -: a user a line of stdin",
    )
    parser.add_argument("--top-k", metavar="K", type=positive, default=10, help="how many items; default: 10")
    _add_device(parser)
    add_json(parser)


def recommend(arguments: Namespace) -> int:
    """Recommend items to users that are given by their histories."""
    from runner.recommenders import find_model, recommend, recommendation_lines

    code, found = recommend(
        find_model(arguments.model_or_run),
        histories(arguments.history, sys.stdin),
        top_k=arguments.top_k,
        device=arguments.device,
        env=os.environ,
    )
    if code == 0:
        told = as_json({"schema_version": 1, **found}) if arguments.as_json else None
        say(told if told is not None else "\n".join(recommendation_lines(found)))
    return code


def encode_arguments(parser: ArgumentParser) -> None:
    """Options of `encode`."""
    what = "a run with a build_data stage, or such a stage's folder rows/"
    parser.add_argument("build_or_run", metavar="RUN_OR_FOLDER", help=what)
    parser.add_argument("items", metavar="ITEMS", type=Path, help="a table of new items, as the build had it")
    parser.add_argument("--output", metavar="FILE", type=local, required=True, help="a new parquet file")
    parser.add_argument(
        "--column",
        metavar="KEY=NAME",
        action="append",
        type=column,
        default=[],
        help="what a column is called, such as id=asin; default: as in the run's manifest; may be repeated",
    )
    parser.add_argument(
        "--before",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="what encode wrote for other new items: their ids are not given again; may be repeated",
    )
    add_stage(parser)


def encode(arguments: Namespace) -> int:
    """Give new items ids."""
    from runner.recommenders import encode

    code = encode(
        arguments.build_or_run,
        arguments.items,
        output=arguments.output,
        stage=arguments.stage,
        columns=dict(arguments.column),
        encoded_before=arguments.before,
        env=os.environ,
    )
    if code == 0:
        say(f"encoded: {arguments.output}")
    return code


def histories(given: Iterable[str], lines: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Item ids of each user: of each option, and of each line where an option is `-`.

    Raises ConfigError for a history without an item.
    """
    texts: list[str] = []
    for text in given:
        texts += [line for line in lines if line.strip()] if text == "-" else [text]
    found = tuple(_pids(text) for text in texts)
    if not found:
        raise ConfigError("stdin has no history; write a line for each user, such as 50,181,1")
    if not all(found):
        raise ConfigError("a history holds no item; write ids of items with commas, such as 50,181,1")
    return found


def _pids(text: str) -> tuple[str, ...]:
    """Ids with commas, or where there is none with blanks between them."""
    parts = text.split(",") if "," in text else text.split()
    return tuple(part.strip() for part in parts if part.strip())


def baselines(text: str) -> tuple[str, ...]:
    """Names of simple models with commas."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in BASELINES:
            raise ArgumentTypeError(f"{name!r} is none of {', '.join(BASELINES)}")
    return names


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers from 1 on with commas."""
    return tuple(positive(part.strip()) for part in text.split(","))


def column(text: str) -> tuple[str, str]:
    """A key and a name with = between them."""
    key, found, name = text.partition("=")
    if not found or not key or not name:
        raise ArgumentTypeError(f"{text!r} has no key and name; write such as id=asin")
    return key, name


def _add_device(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: a GPU if there is one"
    )
