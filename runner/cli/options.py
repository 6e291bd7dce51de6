"""Options that several verbs share, and the kinds of value that options take."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path


def add_manifest(parser: ArgumentParser) -> None:
    """MANIFEST and --set."""
    parser.add_argument("manifest", metavar="MANIFEST", type=Path, help="a manifest (TOML)")
    parser.add_argument(
        "--set",
        dest="settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override a key by its dotted place, such as stages.sft.learning_rate=1e-5; may be repeated",
    )


def add_run_dir(parser: ArgumentParser) -> None:
    """RUN."""
    text = "a run directory or name; default: the run last started"
    parser.add_argument("run", metavar="RUN", nargs="?", help=text)


def add_stage(parser: ArgumentParser) -> None:
    """--stage."""
    parser.add_argument("--stage", metavar="NAME", help="a stage of the run")


def add_json(parser: ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", dest="as_json", action="store_true", help="JSON for programs")


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def gigabytes(text: str) -> float:
    """A number above 0."""
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not size > 0:
        raise ArgumentTypeError(f"{text!r} is no number above 0")
    return size


def share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"{text!r} is no share from 0 to 1")
    return value


def local(text: str) -> Path:
    """A folder of this machine."""
    if "://" in text:
        raise ArgumentTypeError(f"{text!r} is a URL; name a local folder")
    return Path(text)
