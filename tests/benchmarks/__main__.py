"""Measure rows of the goals and print one table: `python -m tests.benchmarks [C1 ...]`.

`--set-up` installs the peers into an environment of their own, once. Exits 0 when all goals are met, 1 when
one is missed or a row is void, 2 when nothing could be measured.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tests.benchmarks import table
from tests.benchmarks.environment import Bench, alone, machine, ours_versions, peer_environment
from tests.benchmarks.harness import REGISTRY, Benchmark, Line, Void, load_rows, measured


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; the exit code."""
    given = _parser().parse_args(arguments)
    load_rows()
    try:
        with alone():
            return _run(given)
    except (ValueError, Void) as fault:
        _tell(str(fault))
        return 2


def _run(given: argparse.Namespace) -> int:
    chosen = REGISTRY.chosen(given.rows)
    if given.set_up:
        peer_environment().set_up()
        return 0
    about = _about(chosen)
    results = _measure_all(chosen, Bench(repeats=given.repeats, tell=_tell))
    _show(results, about=about, given=given)
    return 0 if all(line.met is not False for lines in results.values() for line in lines) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows of the goals, such as C2; default: all")
    parser.add_argument("--set-up", action="store_true", help="install the peers and end")
    parser.add_argument(
        "--repeats", type=int, help="repeats of every row, for a rough look; goals want 5 or 3"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every repeat of every row")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    return parser


def _about(chosen: Sequence[Benchmark]) -> dict[str, object]:
    needs_peers = any(one.needs_peers for one in chosen)
    peers = peer_environment().versions() if needs_peers else {}
    today = dt.datetime.now(tz=dt.timezone.utc).date().isoformat()
    return {"machine": machine(), "ours": ours_versions(), "peers": peers, "measured": today}


def _measure_all(chosen: Sequence[Benchmark], bench: Bench) -> dict[str, list[Line]]:
    results = {}
    for number, one in enumerate(chosen, start=1):
        _tell(f"[{number}/{len(chosen)}] {one.row} {one.title}")
        results[one.row] = measured(one, bench)
    return results


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _show(results: table.Results, *, about: dict[str, object], given: argparse.Namespace) -> None:
    if given.json:
        document = table.document(results, about=about)
        given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if given.markdown:
        print(table.about_markdown(about), table.markdown(results), sep="\n\n")
    elif sys.stdout.isatty():
        Console().print(table.rich(results), *table.notes(results), sep="\n")
    else:
        print(table.plain(results))


if __name__ == "__main__":
    sys.exit(main())
