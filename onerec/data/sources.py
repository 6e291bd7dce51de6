"""Find the parquet files that `sources` names in file lists, files, folders, globs and URLs, sorted.

Lists folders and reads the last bytes of files; rows are read elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit, urlunsplit

from pyarrow import fs

from onerec.errors import DataError

FOOTER_TAIL_BYTES = 8
MAGIC = b"PAR1"
LISTING_THREADS = 16
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class DataFile:
    """One parquet file as it was found."""

    location: str
    """Absolute path or URL."""
    size: int
    """Bytes."""
    modified_ns: int
    """Time of the last change in nanoseconds, 0 where the file system does not tell."""
    footer: str
    """SHA-256 of the parquet footer: row counts, sizes and statistics of every column chunk."""

    @property
    def name(self) -> str:
        """File name without its folder."""
        return PurePosixPath(self.location).name

    @property
    def content(self) -> list[object]:
        """What stays the same when the file moves to another folder or machine."""
        return [self.name, self.size, self.footer]

    @property
    def identity(self) -> list[object]:
        """What changes when the file is replaced in place."""
        return [self.location, self.modified_ns, *self.content]


def find_files(sources: Iterable[str]) -> tuple[DataFile, ...]:
    """Files of all sources, each once, sorted; raises DataError for what is missing or no parquet."""
    locations = sorted({location for source in sources for location in locations_of(source)})
    if not locations:
        raise DataError(f"{', '.join(map(shown, sources))}: no parquet files there; correct `sources`")
    with ThreadPoolExecutor(min(LISTING_THREADS, len(locations))) as threads:
        return tuple(threads.map(_inspect, locations))


def locations_of(source: str) -> Iterator[str]:
    """Absolute paths or URLs of the parquet files of one source, in no particular order."""
    filesystem, path = open_filesystem(source)
    kind = _info(filesystem, path, source).type
    if kind == fs.FileType.File:
        yield from _entries_of_list(source) if path.endswith(".json") else (_absolute(source, path),)
    elif kind == fs.FileType.Directory:
        yield from _found(filesystem, source, folder=path, pattern=None)
    elif _GLOB.search(path):
        yield from _found(filesystem, source, folder=_fixed_part(path), pattern=path)
    else:
        raise DataError(f"{shown(source)}: no such file or folder; correct `sources`")


def open_filesystem(location: str) -> tuple[fs.FileSystem, str]:
    """File system of a path or URL, and the path within it; raises DataError for an unusable URL."""
    if not is_url(location):
        return fs.LocalFileSystem(), str(Path(location).absolute())
    try:
        filesystem, path = fs.FileSystem.from_uri(location)
    except (OSError, ValueError) as fault:
        raise DataError(
            f"{shown(location)}: cannot be opened: {fault}; correct the URL or its access"
        ) from fault
    return filesystem, path


def is_url(location: str) -> bool:
    """Whether a location has a scheme, such as hdfs:// or s3://."""
    return "://" in location


def shown(location: str) -> str:
    """A location for people: a URL loses its user, password and query."""
    if not is_url(location):
        return location
    parts = urlsplit(location)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _info(filesystem: fs.FileSystem, path: str, source: str) -> fs.FileInfo:
    try:
        return filesystem.get_file_info(path)
    except OSError as fault:
        raise DataError(f"{shown(source)}: cannot be read: {fault}; check its access") from fault


def _absolute(source: str, path: str) -> str:
    """A path of the source's file system in the form in which a source names it."""
    if not is_url(source):
        return path
    parts = urlsplit(source)
    root = "" if parts.scheme in ("s3", "gs", "gcs") else parts.netloc
    name = path if root else path.removeprefix(parts.netloc.rpartition("@")[2])
    return urlunsplit((parts.scheme, parts.netloc, "/" + name.lstrip("/"), parts.query, ""))


def _entries_of_list(source: str) -> Iterator[str]:
    """Files of a JSON file list, whose entries are sources, relative ones from the list's folder."""
    filesystem, path = open_filesystem(source)
    try:
        with filesystem.open_input_file(path) as file:
            entries = json.loads(file.read())
    except (OSError, ValueError) as fault:
        raise DataError(f"{shown(source)}: not a readable JSON file list: {fault}") from fault
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise DataError(f"{shown(source)}: a file list is a JSON list of strings; write it as one")
    for entry in entries:
        yield from locations_of(entry if is_url(entry) else _beside(source, path, entry))


def _beside(source: str, path: str, entry: str) -> str:
    return _absolute(source, str(PurePosixPath(path).parent / entry))


def _fixed_part(pattern: str) -> str:
    """Deepest folder of a glob that has no wildcard in its name."""
    magic = _GLOB.search(pattern)
    return pattern[: magic.start()].rpartition("/")[0] or "/" if magic else pattern


def _found(filesystem: fs.FileSystem, source: str, *, folder: str, pattern: str | None) -> Iterator[str]:
    """Files below a folder that match a glob, or every *.parquet; names beginning with . or _ are skipped."""
    below = (
        pattern is None or "**" in pattern or bool(_GLOB.search(pattern[len(folder) :].rpartition("/")[0]))
    )
    selector = fs.FileSelector(folder, allow_not_found=True, recursive=below)
    matches = glob_expression(
        pattern if pattern is not None else f"{folder.rstrip('/')}/**/*.parquet"
    ).fullmatch
    try:
        infos = filesystem.get_file_info(selector)
    except OSError as fault:
        raise DataError(f"{shown(source)}: cannot be listed: {fault}; check its access") from fault
    paths = [info.path for info in infos if info.type == fs.FileType.File and matches(info.path)]
    visible = [path for path in paths if not _hidden(path.removeprefix(folder))]
    if not visible:
        raise DataError(f"{shown(source)}: no parquet files there; correct `sources`")
    yield from (_absolute(source, path) for path in visible)


def _hidden(path: str) -> bool:
    return any(part.startswith((".", "_")) for part in path.split("/"))


def glob_expression(pattern: str) -> re.Pattern[str]:
    """Regular expression of a glob: * and ? stay within a folder, ** crosses folders, [abc] is a choice."""
    pieces = re.split(r"(\*\*/|\*|\?|\[[^\]]+\])", pattern)
    meaning = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meaning.get(piece) or _literal_or_choice(piece) for piece in pieces), re.DOTALL)


def _literal_or_choice(piece: str) -> str:
    if piece.startswith("[") and piece.endswith("]") and len(piece) > 2:
        inside = piece[1:-1]
        return "[^" + inside[1:] + "]" if inside.startswith("!") else f"[{inside}]"
    return re.escape(piece)


def _inspect(location: str) -> DataFile:
    filesystem, path = open_filesystem(location)
    info = _info(filesystem, path, location)
    try:
        with filesystem.open_input_file(path) as file:
            footer = _footer_digest(file, file.size())
    except (OSError, ValueError) as fault:
        raise DataError(
            f"{shown(location)}: not a whole parquet file ({fault}); "
            "write it again or take it out of `sources`"
        ) from fault
    return DataFile(location, info.size, info.mtime_ns or 0, footer)


def _footer_digest(file: object, size: int) -> str:
    """SHA-256 of a parquet footer; raises ValueError when the file does not end as parquet does."""
    if size < FOOTER_TAIL_BYTES + len(MAGIC):
        raise ValueError(f"{size} bytes long")
    tail = file.read_at(FOOTER_TAIL_BYTES, size - FOOTER_TAIL_BYTES)  # type: ignore[attr-defined]
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or length > size - FOOTER_TAIL_BYTES - len(MAGIC):
        raise ValueError("its end is missing")
    footer = file.read_at(length, size - FOOTER_TAIL_BYTES - length)  # type: ignore[attr-defined]
    return hashlib.sha256(footer).hexdigest()
