"""Which files stand at a place outside the run: names, sizes, and the ends of their contents.

The one part of planning that looks at a disk. Copied or touched files stay what they are. Places on other
storage (URLs) are known by their text alone.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from glob import glob
from pathlib import Path

MISSING = "missing"
END_BYTES = 1 << 16


@dataclass(frozen=True)
class Files:
    """What stands at a place: how many files, how many bytes, and a digest of names, sizes and ends."""

    digest: str
    count: int | None
    """None: cannot be known from here (a URL)."""
    size: int | None
    """Bytes."""


def identify(place: str) -> Files:
    """What stands at a file, a JSON list of files, a folder (with all below it), a glob or a URL."""
    if "://" in place:
        return Files(digest=_digest([place]), count=None, size=None)
    paths = _files_at(place)
    if not paths:
        return Files(digest=MISSING, count=0, size=0)
    base = Path(place) if Path(place).is_dir() else Path(place).parent
    entries, total = [], 0
    for path in paths:
        size = path.stat().st_size
        name = path.relative_to(base).as_posix() if path.is_relative_to(base) else path.name
        entries.append(f"{name}\0{size}\0{_end_digest(path, size)}")
        total += size
    return Files(digest=_digest(sorted(entries)), count=len(paths), size=total)


def _files_at(place: str) -> list[Path]:
    path = Path(place)
    if path.is_dir():
        return [file for file in path.rglob("*") if file.is_file() and not _is_hidden(file.relative_to(path))]
    if path.is_file():
        return [path, *_listed(path)]
    return [Path(found) for found in glob(place, recursive=True) if Path(found).is_file()]  # noqa: PTH207


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts) or path.suffix == ".md"


def _listed(path: Path) -> list[Path]:
    """Local files that a JSON file list names; other files, and lists that cannot be read, name none."""
    if path.suffix != ".json":
        return []
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        return []
    names = [name for name in document if isinstance(name, str)] if isinstance(document, list) else []
    local = [str(path.parent / name) for name in names if "://" not in name]
    return [found for place in local for found in _files_at(place)]


def _end_digest(path: Path, size: int) -> str:
    """Digest of the last END_BYTES: small files whole, footers of parquet, last tensors of safetensors."""
    with path.open("rb") as file:
        file.seek(max(0, size - END_BYTES))
        return hashlib.sha256(file.read()).hexdigest()


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
