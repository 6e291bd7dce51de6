"""What the runner prints: answers on stdout, complaints on stderr; the only file that writes to either."""

from __future__ import annotations

import json
import os
import sys


def is_terminal() -> bool:
    """Whether a person sees what is printed as it comes."""
    return sys.stdout.isatty()


def has_styles() -> bool:
    """Whether what is printed may hold colours: on a terminal that knows them, unless NO_COLOR is set."""
    return is_terminal() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")


def say(text: str) -> None:
    """Print a line or more that was asked for."""
    write(text + "\n")


def write(text: str) -> None:
    """Print text as it is, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def tell(text: str) -> None:
    """Print while a run is at work; a reader that has gone away stops the printing, not the run."""
    try:
        say(text)
    except BrokenPipeError:
        stop_printing()


def stop_printing() -> None:
    """Let all further output go nowhere: whoever read has seen enough."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(text: str) -> None:
    """Print what is wrong."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def as_json(document: object) -> str:
    """A document as JSON that people can read too."""
    return json.dumps(document, indent=2, ensure_ascii=False)
