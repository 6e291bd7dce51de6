"""Look at the local sources of every dataset: that files, folders, globs and lists lead to parquet files.

Rows are not read, and URLs are left to the step that prepares the data.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator
from pathlib import Path

from runner.manifest.faults import dotted
from runner.manifest.rules_references import used_datasets
from runner.manifest.sources import source_parts, url_scheme
from runner.manifest.tables import Manifest
from runner.preflight.findings import Finding, error, warning

_TOLD = 3
"""Missing entries of a list that are named; the rest is counted."""


def check_sources(manifest: Manifest) -> Iterator[Finding]:
    """Every local source that leads to no parquet file, and every dataset that no stage reads."""
    used = used_datasets(manifest)
    for name, dataset in manifest.datasets.items():
        if name not in used:
            place = dotted(("datasets", name))
            yield warning(
                place, "no training stage reads it", f'write dataset = "{name}" in one, or remove it'
            )
        for below, source in source_parts(dataset):
            if isinstance(source, str) and not url_scheme(source):
                yield from _check_source(dotted(("datasets", name, *below)), source)


def _check_source(place: str, source: str) -> Iterator[Finding]:
    path = Path(source)
    if path.is_dir():
        if not _holds_parquet(path):
            yield error(place, f"the folder {path} holds no parquet file", "correct the path")
    elif path.is_file():
        if path.suffix == ".json":
            yield from _check_list(place, path)
    elif glob.has_magic(source):
        if next(glob.iglob(source, recursive=True), None) is None:  # noqa: PTH207 - an absolute pattern
            yield error(place, f"nothing matches {source}", "correct the pattern")
    else:
        yield error(
            place, f"{path} is not there", "correct the path; it is relative to the manifest's folder"
        )


def _holds_parquet(folder: Path) -> bool:
    return next(folder.rglob("*.parquet"), None) is not None


def _check_list(place: str, path: Path) -> Iterator[Finding]:
    try:
        entries = json.loads(path.read_bytes())
    except (OSError, ValueError) as fault:
        yield error(place, f"{path} is no JSON list: {fault}", "write it as a list of paths")
        return
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        yield error(place, f"{path} is no JSON list of texts", "write it as a list of paths")
    elif not entries:
        yield error(place, f"{path} is an empty list", "name at least one file")
    else:
        yield from _check_entries(place, path, entries)


def _check_entries(place: str, path: Path, entries: list[str]) -> Iterator[Finding]:
    local = [entry for entry in entries if not url_scheme(entry) and not glob.has_magic(entry)]
    missing = [entry for entry in local if not (path.parent / entry).exists()]
    if missing:
        named = ", ".join(missing[:_TOLD]) + (", ..." if len(missing) > _TOLD else "")
        yield error(
            place,
            f"{len(missing)} of {len(entries)} entries of {path} are not there: {named}",
            "correct them; relative ones are looked for beside the list",
        )
