"""What a run was made from: data, environment, manifest, commands, and what its steps found out. Pure."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from runner.curves import finite
from runner.flat import differences, flat
from runner.page.gather import Record, StepRecord
from runner.page.wording import count, moment, shown
from runner.report import report_lines
from runner.story import Start

COUNTS = ("rows", "samples", "tokens", "trained_tokens", "itemic_tokens")


@dataclass(frozen=True)
class DatasetView:
    """A prepared dataset."""

    name: str
    figures: tuple[tuple[str, str], ...]
    sources: tuple[tuple[str, float, tuple[str, ...]], ...]
    """Name, share of the tokens, and samples, tokens, trained and itemic tokens, dropped."""
    rejects: tuple[tuple[str, str], ...]


def dataset(step: StepRecord) -> DatasetView:
    """Counts of one prepared dataset, over all and by source."""
    summary = step.summary
    sources = summary.get("sources")
    total = finite(summary.get("tokens")) or 0.0
    rejects = summary.get("rejects")
    return DatasetView(
        name=step.step["name"].removeprefix("prepare:"),
        figures=tuple(_dataset_figures(summary)),
        sources=tuple(
            (
                str(name),
                (finite(counts.get("tokens")) or 0.0) / total if total else 0.0,
                tuple(
                    count(counts.get(key))
                    for key in ("samples", "tokens", "trained_tokens", "itemic_tokens", "overlong_dropped")
                ),
            )
            for name, counts in (sources.items() if isinstance(sources, dict) else ())
            if isinstance(counts, dict)
        ),
        rejects=tuple(
            (str(reason), count(number))
            for reason, number in (rejects.items() if isinstance(rejects, dict) else ())
        ),
    )


def _dataset_figures(summary: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for key in (*COUNTS, "rejected", "duplicate_uuids", "overlong_dropped", "longest_sample", "files"):
        if key in summary:
            yield key.replace("_", " "), count(summary[key])
    packing = summary.get("packing")
    if isinstance(packing, dict):
        yield "packs per epoch", count(packing.get("packs_per_epoch"))
        padding = finite(packing.get("padding_fraction"))
        if padding is not None:
            yield "padding", f"{padding:.2%}"


def findings(record: Record) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The lines that steps have for people."""
    for step in record.steps:
        lines = report_lines(step.result)
        if lines and step.step["kind"] not in {"prepare", "convert", "evaluate"}:
            yield step.step["name"], tuple(lines)


def environment_changes(
    starts: Sequence[Start],
) -> Iterator[tuple[str, tuple[tuple[str, str, str], ...]]]:
    """What each start found otherwise than the one before it; the time is always another."""
    told = [start for start in starts if start.environment]
    for before, after in pairwise(told):
        changed = differences(flat(before.environment), flat(after.environment))
        rows = tuple((key, shown(old), shown(new)) for key, old, new in changed if key != "time")
        yield moment(after.time), rows


def resolved(record: Record) -> Iterator[tuple[str, str, bool]]:
    """Every key with its value, and whether an override set it."""
    overridden = [text.partition("=")[0].strip() for text in record.history.overrides]
    for key, value in flat(record.resolved).items():
        is_set = any(key == one or key.startswith((f"{one}.", f"{one}[")) for one in overridden)
        yield key, shown(value), is_set


def manifest_changes(record: Record) -> Iterator[str]:
    """What each manifest that was replaced had otherwise than the next."""
    texts = [*record.older_manifests, record.manifest]
    for number, (old, new) in enumerate(pairwise(texts), start=1):
        lines = difflib.unified_diff(
            old.splitlines(),
            new.splitlines(),
            f"manifest {number}",
            f"manifest {number + 1}",
            lineterm="",
            n=1,
        )
        yield "\n".join(lines)


def commands(record: Record) -> Iterator[tuple[str, str, str]]:
    """The newest command of each step, and the file that runs it."""
    newest = {one.step: one for one in record.story.attempts}
    for step in record.steps:
        name = step.step["name"]
        if name in newest:
            lines = "\n".join(shlex.join(command) for command in newest[name].argv)
            yield name, f"{step.step['folder']}/command.sh", lines or step.command
