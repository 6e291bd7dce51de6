"""Make a store of files that are tokenised: rejects, index, summary, and last meta.json, which makes it one.

Until then the store before it is whole, and what a failed preparation tells does not touch it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onerec.data.preparation.crew import Task
from onerec.data.preparation.index import Index, build_index, save_index
from onerec.data.preparation.report import FileReport, Options, merged
from onerec.data.preparation.summary import data_summary, duplicate_count
from onerec.data.preparation.tokenise import is_done, tell
from onerec.data.source.sources import DataFile, shown
from onerec.data.store.store import FORMAT, StorePaths, TokenFile, read_meta
from onerec.errors import DataError, StorageError
from onerec.progress import write_json_atomically

REJECTS_SHOWN = 3
DUPLICATES_SHOWN = 3
SECONDS_FOR_OTHER_HOSTS = 120.0
"""How long a shared file system may take to show what another host has written."""


@dataclass(frozen=True)
class Facts:
    """What a store is, besides its files."""

    base: str
    key: str
    request: str
    fingerprint: str
    options: Options
    pad_id: int
    document_end_id: int


def commit(
    facts: Facts,
    paths: StorePaths,
    *,
    files: Sequence[DataFile],
    tasks: Sequence[Task],
    work: Mapping[str, Any],
    max_reject_fraction: float,
) -> dict[str, Any]:
    """Make the store of `tasks`, one for each of `files`, and clear the last one away; returns its summary.

    Raises DataError for too many rejects and for data without a sample.
    """
    reports = _reports(tasks)
    report = merged(reports)
    _check(report, paths, tasks=tasks, max_reject_fraction=max_reject_fraction)
    sources = [name for name, counts in report.sources.items() if counts.samples]
    stored = [(task.paths.tokens, part) for task, part in zip(tasks, reports, strict=True)]
    index, hashes = build_index(stored, sources)
    save_index(index, paths.index(facts.key))
    _join([task.paths.rejects for task in tasks], paths.rejects)
    duplicates = duplicate_count(hashes)
    summary = {
        "key": facts.key,
        **data_summary(report, index.lengths, files=len(tasks), duplicates=duplicates),
        "duplicate_examples": duplicate_examples(hashes, tasks) if duplicates else [],
        "files_named_twice": sum(file.named > 1 for file in files),
        "bytes": sum(task.size for task in tasks),
        "preparation": dict(work),
    }
    write_json_atomically(paths.summary, summary)
    before = read_meta(paths)
    meta = _meta(facts, sources=sources, entries=_entries(files, tasks, reports), index=index)
    write_json_atomically(paths.meta, meta)
    same_data = before is not None and before["fingerprint"] == facts.fingerprint
    _sweep(paths, tasks, key=facts.key, same_data=same_data)
    tell(account(summary))
    return summary


def _reports(tasks: Sequence[Task]) -> list[FileReport]:
    """Reports of the files, waiting a little for those that another host has written."""
    deadline = time.monotonic() + SECONDS_FOR_OTHER_HOSTS
    for task in tasks:
        while not is_done(task.paths):
            if time.monotonic() > deadline:
                raise StorageError(
                    f"{task.paths.report}: another host has written it, and it is not seen here; "
                    "put the run directory on a file system that all hosts share"
                )
            list(task.paths.report.parent.iterdir())  # makes a network file system look again
            time.sleep(0.5)
    return [FileReport.from_json(json.loads(task.paths.report.read_bytes())) for task in tasks]


def _check(
    report: FileReport, paths: StorePaths, *, tasks: Sequence[Task], max_reject_fraction: float
) -> None:
    """Raise DataError when too many rows are rejected or no sample is left; the rejects are kept apart."""
    total = report.total()
    rejected = total.rejects.total()
    counts = {"rows": report.rows, "rejected": rejected, "rejects": dict(total.rejects)}
    failed = paths.root / "rejects-failed.jsonl"
    failed.unlink(missing_ok=True)
    if rejected > max_reject_fraction * report.rows or not total.samples:
        _join([task.paths.rejects for task in tasks], failed)
    check_rejects(counts, max_reject_fraction, rejects=failed)
    if not total.samples:
        names = ", ".join(shown(task.location) for task in tasks[:REJECTS_SHOWN])
        raise DataError(
            f"{names}{', ...' if len(tasks) > REJECTS_SHOWN else ''}: no sample: {report.rows} rows, "
            f"{rejected} rejected, {total.overlong_dropped} too long; correct `sources` or "
            "max_sample_length"
        )


def check_rejects(counts: Mapping[str, Any], limit: float, *, rejects: Path) -> None:
    """Raise DataError with reasons and first rejects when more than this share of the rows was rejected."""
    rows, rejected = counts["rows"], counts["rejected"]
    if rejected <= limit * rows:
        return
    reasons = sorted(counts["rejects"].items(), key=lambda reason: (-reason[1], reason[0]))
    told = "".join(f"\n  {count:,} x {reason}" for reason, count in reasons)
    with rejects.open(encoding="utf-8") as lines:
        first = [json.loads(line) for line, _ in zip(lines, range(REJECTS_SHOWN), strict=False)]
    examples = "".join(
        f"\n  {reject['file']}, row {reject['row']}: {reject['reason']}: {reject['excerpt']}"
        for reject in first
    )
    raise DataError(
        f"{rejected:,} of {rows:,} rows were rejected, max_reject_fraction is {limit}; correct them or raise "
        f"it; all of them are in {rejects}; by reason:{told}\nthe first are:{examples}"
    )


def _join(parts: Sequence[Path], whole: Path) -> None:
    """Write the files one after the other to one that is replaced at once."""
    temporary = whole.with_name(f".{whole.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as target:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, target)
    temporary.replace(whole)


def duplicate_examples(hashes: npt.NDArray[np.uint64], tasks: Sequence[Task]) -> list[list[dict[str, Any]]]:
    """File and row of the first two rows of each of the first few uuids that several rows have.

    `hashes` are of the stored rows of all tasks, one after the other.
    """
    ordered = np.sort(hashes)
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    places = np.flatnonzero(np.isin(hashes, repeated))
    first = list(dict.fromkeys(hashes[places].tolist()))[:DUPLICATES_SHOWN]
    pairs = [places[hashes[places] == value][:2].tolist() for value in first]
    return [[_row_at(place, tasks) for place in pair] for pair in pairs]


def _row_at(place: int, tasks: Sequence[Task]) -> dict[str, Any]:
    for task in tasks:
        tokens = TokenFile(task.paths.tokens)
        rows = tokens.column("row")[tokens.column("piece") == 0]
        if place < len(rows):
            return {"file": shown(task.location), "row": int(rows[place])}
        place -= len(rows)
    raise AssertionError(place)


def _entries(
    files: Sequence[DataFile], tasks: Sequence[Task], reports: Sequence[FileReport]
) -> list[dict[str, Any]]:
    return [
        {
            "file": shown(file.location),
            "tokens": task.paths.tokens.name,
            "size": file.size,
            "footer": file.footer,
            "samples": report.total().samples,
        }
        for file, task, report in zip(files, tasks, reports, strict=True)
    ]


def _meta(
    facts: Facts, *, sources: Sequence[str], entries: Sequence[Mapping[str, Any]], index: Index
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "base": facts.base,
        "key": facts.key,
        "request": facts.request,
        "fingerprint": facts.fingerprint,
        "options": asdict(facts.options),
        "sources": list(sources),
        "pad_id": facts.pad_id,
        "document_end_id": facts.document_end_id,
        "samples": len(index.lengths),
        "tokens": int(index.lengths.sum(dtype="int64")),
        "files": list(entries),
    }


def _sweep(paths: StorePaths, tasks: Sequence[Task], *, key: str, same_data: bool) -> None:
    """Remove tokens, index and plans that belong to no current store, and what a kill left half done."""
    current = {path.name for task in tasks for path in asdict(task.paths).values()}
    for path in paths.tokens.iterdir():
        if path.name not in current:
            path.unlink()
    for folder in [*paths.root.glob("index-*"), *paths.root.glob(".index-*")]:
        if folder != paths.index(key):
            shutil.rmtree(folder)
    if not same_data:
        shutil.rmtree(paths.plans, ignore_errors=True)


def account(summary: Mapping[str, Any]) -> str:
    """A store in one line."""
    sources = sum(counts["samples"] > 0 for counts in summary["sources"].values())
    text = (
        f"{summary['samples']:,} samples, {summary['tokens']:,} tokens "
        f"({summary['trained_tokens']:,} trained, {summary['itemic_tokens']:,} itemic) "
        f"of {sources} sources; {summary['rejected']:,} rows rejected"
    )
    for count, what in (
        (summary["overlong_dropped"], "rows too long and dropped"),
        (summary["overlong_split"], "long texts split"),
        (summary["duplicate_uuids"], "rows with the uuid of another row, kept"),
    ):
        text += f", {count:,} {what}" if count else ""
    for pair in summary["duplicate_examples"]:
        places = " and ".join(f"{one['file']}, row {one['row']}" for one in pair)
        text += f"\nprepare: the same uuid: {places}"
    return text
