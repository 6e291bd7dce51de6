"""The report of a model test: a table and the answers for people, a document for programs.

Pure: what is told comes from the checks alone. Whatever a model or a file says is shown without control
characters.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from operator import attrgetter
from typing import Any

from onerec.model_test import generation, heldout
from onerec.model_test.check import Check

WIDTH = 110
LONGEST_PROMPT = 300
TOLD_SECONDS = 0.1
STATUS_NAMES = {"ok": "ok", "failed": "FAIL", "note": "note", "skipped": "skipped"}


def document_of(model_dir: str, checks: Sequence[Check]) -> dict[str, Any]:
    """The report for programs; its keys are a stable surface."""
    figures = [dict(check.record) for check in checks if check.group == heldout.GROUP and check.record]
    return {
        "model_dir": model_dir,
        "ok": all(check.ok for check in checks),
        "checks": [_check_document(check) for check in checks],
        "generations": [record for _, record in _answers(checks)],
        "heldout": figures[0] if figures else {},
        "report": [headline(model_dir, checks), "", *_table(checks), *_answer_lines(checks)],
    }


def headline(model_dir: str, checks: Sequence[Check]) -> str:
    """`/models/a: ok, 30 checks, 2 of them notes, 1 skipped, in 3.1s`."""
    counts = Counter(check.status for check in checks)
    failed, rest = counts.pop("failed", 0), []
    if counts["note"]:
        rest.append(f"{counts['note']} with a note")
    if counts["skipped"]:
        rest.append(f"{counts['skipped']} skipped")
    told = f"{failed} of {len(checks)} checks FAILED" if failed else f"ok, {len(checks)} checks"
    seconds = sum(check.seconds for check in checks)
    return f"{printable(model_dir)}: {', '.join([told, *rest])}, in {seconds:.1f}s"


def summary_of(model_dir: str, checks: Sequence[Check]) -> list[str]:
    """The same in a few lines, for the end of a run: the headline, notes, and the held-out loss."""
    return [
        headline(model_dir, checks),
        *(f"note, {check.name}: {printable(check.detail)}" for check in checks if check.status == "note"),
        *(f"{check.name}: {check.detail}" for check in checks if check.group == heldout.GROUP),
    ]


def printable(text: str) -> str:
    """The text with everything that a terminal might obey escaped."""
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)


def _check_document(check: Check) -> dict[str, Any]:
    document = asdict(check) | {"ok": check.ok}
    del document["record"]
    return document


def _table(checks: Sequence[Check]) -> list[str]:
    """One section for each group; a detail goes on under itself."""
    names = max(len(_name(check)) for check in checks)
    lines = []
    for group, members in groupby(checks, key=attrgetter("group")):
        lines.append(group)
        for check in members:
            head = f"  {STATUS_NAMES[check.status]:<7} {_name(check):<{names}}  "
            detail = printable(check.detail)
            detail += f" ({check.seconds:.1f}s)" if check.seconds >= TOLD_SECONDS else ""
            lines += textwrap.wrap(
                detail,
                WIDTH,
                initial_indent=head,
                subsequent_indent=" " * len(head),
                break_on_hyphens=False,
            )
    return lines


def _name(check: Check) -> str:
    return printable(check.name.removeprefix(f"{check.group}, "))


def _answers(checks: Sequence[Check]) -> list[tuple[Check, dict[str, Any]]]:
    return [
        (check, dict(check.record))
        for check in checks
        if check.group == generation.GROUP and check.record is not None
    ]


def _answer_lines(checks: Sequence[Check]) -> list[str]:
    lines: list[str] = []
    for check, told in _answers(checks):
        lines += ["", f"{_name(check)} ({told['how']}; {told['prompt_tokens']} tokens of prompt)"]
        lines += _quoted("prompt", told["prompt"][-LONGEST_PROMPT:], cut=len(told["prompt"]) > LONGEST_PROMPT)
        lines += _quoted("answer", told["answer"], cut=False)
    return lines


def _quoted(title: str, text: str, *, cut: bool) -> list[str]:
    quoted = ("..." if cut else "") + repr(text)
    return textwrap.wrap(
        quoted,
        WIDTH,
        initial_indent=f"  {title}  ",
        subsequent_indent=" " * (len(title) + 4),
        break_on_hyphens=False,
        drop_whitespace=False,
    )
