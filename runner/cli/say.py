"""What the runner prints: answers on stdout, complaints on stderr; the only file that writes to either."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from runner.printable import printable

HOME, TO_LINE_END, TO_SCREEN_END = "\x1b[H", "\x1b[K", "\x1b[J"
ENTER_SCREEN = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""The other screen, without a cursor, and lines that are too long are cut."""
LEAVE_SCREEN = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_STYLE = re.compile(r"(\x1b\[[0-9;]*m)")


def is_terminal() -> bool:
    """Whether a person sees what is printed as it comes."""
    return sys.stdout.isatty()


def has_styles() -> bool:
    """Whether what is printed may hold colours: on a terminal that knows them, unless NO_COLOR is set."""
    return is_terminal() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")


def can_show(text: str) -> bool:
    """Whether where we print to has all characters of a text."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def own_screen() -> Iterator[None]:
    """A screen of the terminal for what is redrawn; what was there before comes back, on SIGTERM too."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    write(ENTER_SCREEN)
    try:
        yield
    finally:
        write(LEAVE_SCREEN)
        signal.signal(signal.SIGTERM, before)


def redraw(text: str) -> None:
    """Show text on that screen instead of what it showed, line by line and in one write: nothing flickers."""
    lines = text.split("\n")[: shutil.get_terminal_size().lines - 1]  # one more would scroll
    write(HOME + "".join(f"{line}{TO_LINE_END}\r\n" for line in lines) + TO_SCREEN_END)


def say(text: str) -> None:
    """Print a line or more that was asked for; of control characters only colours, and these where wanted."""
    write(harmless(text) + "\n")


def harmless(text: str) -> str:
    """The text as a terminal may have it: names of files and words of others cannot make it do anything."""
    parts = _STYLE.split(text) if has_styles() else [text]
    return "".join(part if number % 2 else printable(part, keep="\n\t") for number, part in enumerate(parts))


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
    sys.stderr.write(printable(text, keep="\n\t") + "\n")
    sys.stderr.flush()


def as_json(document: object) -> str:
    """A document as JSON that people can read too; what is not printable is escaped, as JSON does it."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return "".join(mark if mark.isprintable() or mark == "\n" else json.dumps(mark)[1:-1] for mark in text)
