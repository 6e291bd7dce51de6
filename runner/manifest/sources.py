"""The sources of a dataset: which are local paths, which are URLs, which come from another stage. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from onerec.config import Dataset, StageSource
from runner.manifest.positions import KeyPath

URL_SCHEMES = ("hdfs", "viewfs", "s3", "gs")
"""Schemes of sources that are not local paths."""


def url_scheme(source: str) -> str:
    """Scheme of a URL, such as hdfs; empty for a local path."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", source)
    return found[1].lower() if found else ""


def source_parts(dataset: Dataset) -> Iterator[tuple[KeyPath, str | StageSource]]:
    """Each source of a dataset with its path below the dataset: ("sources",) or ("sources", 1)."""
    if isinstance(dataset.sources, tuple):
        for index, source in enumerate(dataset.sources):
            yield ("sources", index), source
    else:
        yield ("sources",), dataset.sources
