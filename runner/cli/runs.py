"""The verbs that look back at runs: report, list, diff."""
# ruff: noqa: PLC0415 - heavy parts are imported by the verbs that need them, so that `status` answers at once

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from runner.cli.options import add_json, add_run_dir
from runner.cli.say import as_json, say
from runner.rundir import find_run

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

DIFFERENT = 1


def report_arguments(parser: ArgumentParser) -> None:
    """Options of `report`."""
    add_run_dir(parser)
    text = "the page to write; default: report.html in the run directory"
    parser.add_argument("--output", metavar="FILE", type=Path, help=text)


def report(arguments: Namespace) -> int:
    """Write the page of a run."""
    from runner.page import summary_line, write_page

    run = find_run(arguments.run, may_lack_journal=True)
    output = arguments.output or run.page
    view = write_page(run, output)
    say(f"{output}: {summary_line(view)}")
    return 0


def list_arguments(parser: ArgumentParser) -> None:
    """Options of `list`."""
    text = "where to look, and below; default: runs"
    parser.add_argument("folder", metavar="DIR", nargs="?", type=Path, default=Path("runs"), help=text)
    add_json(parser)


def list(arguments: Namespace) -> int:  # noqa: A001 - the verb's name
    """Show all runs."""
    from runner.runs import find_runs, listing_document, listing_text

    found = find_runs(arguments.folder)
    now = time.time()
    say(as_json(listing_document(found)) if arguments.as_json else listing_text(found, now=now))
    return 0


def diff_arguments(parser: ArgumentParser) -> None:
    """Options of `diff`."""
    for name in ("A", "B"):
        parser.add_argument(name.lower(), metavar=name, help="a run directory or name, or a manifest (TOML)")
    parser.add_argument(
        "--exit-code", action="store_true", help=f"end with {DIFFERENT} when anything differs"
    )
    add_json(parser)


def diff(arguments: Namespace) -> int:
    """Show what differs between two runs or manifests."""
    from runner.difference import compare, difference_text, side_of

    found = compare(side_of(arguments.a), side_of(arguments.b))
    say(as_json(found) if arguments.as_json else difference_text(found))
    return DIFFERENT if arguments.exit_code and not found["equal"] else 0
