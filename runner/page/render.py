"""The page as text, and written as one file that is whole or not there."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from importlib import resources
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from onerec.errors import ConfigError
from runner.page.gather import gather
from runner.page.view import SYMBOLS, PageView, view_of
from runner.printable import printable

if TYPE_CHECKING:
    from pathlib import Path

    from runner.rundir import RunDir


def write_page(run: RunDir, output: Path) -> PageView:
    """Write the page of a run to a file; returns what it shows.

    Raises ConfigError where the file cannot be one, StorageError for a damaged journal.
    """
    if output.is_dir() or not output.parent.is_dir():
        raise ConfigError(f"{output}: no file can be written there; name a file in a folder that exists")
    view = view_of(gather(run), now=time.time())
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    temporary.write_text(render_page(view), encoding="utf-8")
    temporary.replace(output)
    return view


def render_page(view: PageView) -> str:
    """The page; everything in the view is escaped, and only our own script may run."""
    folder = resources.files("runner.page")
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(
        loader=PackageLoader("runner.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html.jinja")
    return template.render(view=view, symbols=SYMBOLS, style=style, script=script, script_digest=digest)


def _harmless(value: object) -> object:
    """Text without control characters; our own markup as it is."""
    return (
        printable(value, keep="\n\t") if isinstance(value, str) and not isinstance(value, Markup) else value
    )
