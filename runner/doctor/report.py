"""A diagnosis as text for people: a table of the checks, then what was found and what to do. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.report import counted, table

if TYPE_CHECKING:
    from runner.doctor.diagnosis import Diagnosis, Finding

HEADINGS = ("check", "", "what was looked at")


def diagnosis_text(diagnosis: Diagnosis) -> str:
    """The whole diagnosis; everything that comes from files is escaped, so that no terminal obeys it."""
    rows = [
        HEADINGS,
        *((check.name, "ok" if check.ok else "ERROR", check.detail) for check in diagnosis.checks),
    ]
    lines = [f"run {diagnosis.run}: {_verdict(diagnosis)}", "", *table(rows)]
    for finding in diagnosis.findings:
        lines += ["", *_lines(finding)]
    return "\n".join(map(_printable, lines))


def _verdict(diagnosis: Diagnosis) -> str:
    levels = [finding.level for finding in diagnosis.findings]
    errors, warnings = levels.count("error"), levels.count("warning")
    if errors:
        return f"{counted(errors, 'error')}, {counted(warnings, 'warning')}"
    return f"healthy, {counted(warnings, 'warning')}" if warnings else "healthy"


def _lines(finding: Finding) -> list[str]:
    """`error: stage1/step4: what`, and under it what to do."""
    return [
        f"{finding.level}: {finding.place}: {finding.text}",
        *([f"    {finding.remedy}"] if finding.remedy else []),
    ]


def _printable(line: str) -> str:
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in line)
