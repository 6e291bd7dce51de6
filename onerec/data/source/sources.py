"""Find the parquet files that `sources` names in file lists, files, folders, globs and URLs, sorted.

Lists folders and reads the last bytes of files; rows are read elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar

from pyarrow import NativeFile, fs

from onerec.data.source.filesystem import info_of, is_missing, is_url, open_filesystem, place_of, shown
from onerec.data.source.retry import PATIENCE, Patience, first_line, persist
from onerec.errors import DataError
from onerec.progress import say

__all__ = ["DataFile", "find_files", "glob_expression", "is_url", "locations_of", "open_filesystem", "shown"]

MAGIC, ENCRYPTED = b"PAR1", b"PARE"
FOOTER_TAIL_BYTES = 8
TAIL_BYTES = 1 << 16
"""Read at once from the end of a file; a longer footer takes a second read."""
LISTING_THREADS = 16
NAMED_TWICE_SHOWN = 3
_GLOB = re.compile(r"[*?\[]")
Item = TypeVar("Item")
Result = TypeVar("Result")


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
    named: int = 1
    """How often the sources name the file; it is read once."""

    @property
    def name(self) -> str:
        """File name without its folder."""
        return PurePosixPath(place_of(self.location).path).name

    @property
    def content(self) -> list[object]:
        """What stays the same when the file moves to another folder or machine."""
        return [self.name, self.size, self.footer]

    @property
    def identity(self) -> list[object]:
        """What changes when the file is replaced in place; access keys in a URL are no part of it."""
        return [shown(self.location), self.modified_ns, *self.content]


@dataclass(frozen=True)
class _Found:
    """A file that a source names, with what its listing told."""

    location: str
    info: fs.FileInfo

    @property
    def itself(self) -> str:
        """The same for every name of the same file."""
        return self.location if is_url(self.location) else os.path.realpath(self.location)


def find_files(
    sources: Iterable[str], *, keeps_order: bool = False, patience: Patience = PATIENCE
) -> tuple[DataFile, ...]:
    """Files of all sources, each once, sorted as a whole, or within each source in the sources' order.

    Raises DataError for what is missing or no parquet. A file that is named more than once is told on stderr.
    """
    sources = tuple(sources)
    by_source = in_threads(lambda source: list(_found_in(source, (), patience)), sources)
    named = [found for files in by_source for found in sorted(files, key=_order)]
    if not named:
        raise DataError(f"{', '.join(map(shown, sources))}: no parquet files there; correct `sources`")
    if not keeps_order:
        named.sort(key=_order)
    times = Counter(found.itself for found in named)
    once: dict[str, _Found] = {}
    for found in named:
        once.setdefault(found.itself, found)
    _tell_named_twice([found for itself, found in once.items() if times[itself] > 1])
    return in_threads(
        lambda item: _inspect(item[1], named=times[item[0]], patience=patience), list(once.items())
    )


def locations_of(source: str, *, patience: Patience = PATIENCE) -> Iterator[str]:
    """Absolute paths or URLs of the parquet files of one source, in no particular order."""
    return (found.location for found in _found_in(source, (), patience))


def _order(found: _Found) -> tuple[str, str]:
    """Access keys in a URL do not change where its file stands."""
    return shown(found.location), found.location


def _tell_named_twice(files: Sequence[_Found]) -> None:
    if files:
        names = ", ".join(shown(found.location) for found in files[:NAMED_TWICE_SHOWN])
        more = ", ..." if len(files) > NAMED_TWICE_SHOWN else ""
        what = "1 file is" if len(files) == 1 else f"{len(files):,} files are"
        say(f"{what} named more than once in `sources` and read once: {names}{more}", is_warning=True)


def in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> tuple[Result, ...]:
    """Results of the work on each item, in order; several at once, for work that waits for a server."""
    if len(items) < 2:
        return tuple(map(work, items))
    with ThreadPoolExecutor(min(LISTING_THREADS, len(items))) as threads:
        return tuple(threads.map(work, items))


def _found_in(source: str, lists: tuple[str, ...], patience: Patience) -> Iterator[_Found]:
    """Files of one source; `lists` are the file lists that led to it."""
    filesystem, path = open_filesystem(source, patience=patience)
    info = _told(lambda: info_of(filesystem, path), source, "cannot be read", patience)
    location = place_of(source).at(path)
    if info.type == fs.FileType.File and path.endswith(".json"):
        entries = _entries_of_list(location, lists, patience)
        for files in in_threads(lambda entry: list(_found_in(entry, (*lists, location), patience)), entries):
            yield from files
    elif info.type == fs.FileType.File:
        yield _Found(location, info)
    elif info.type == fs.FileType.Directory:
        yield from _below(source, folder=path, pattern=None, patience=patience)
    elif _GLOB.search(path):
        yield from _below(source, folder=_fixed_part(path), pattern=path, patience=patience)
    else:
        raise _missing(source)


def _missing(source: str) -> DataError:
    return DataError(f"{shown(source)}: no such file or folder; correct `sources`")


def _told(action: Callable[[], Result], source: str, what: str, patience: Patience) -> Result:
    """Result of an action on a source, retried; its last fault becomes a DataError."""
    try:
        return persist(action, what=shown(source), patience=patience)
    except OSError as fault:
        if is_missing(fault):
            raise _missing(source) from fault
        raise DataError(f"{shown(source)}: {what}: {first_line(fault)}; check its access") from fault


def _entries_of_list(source: str, lists: tuple[str, ...], patience: Patience) -> list[str]:
    """Sources that a JSON file list names, relative ones from the list's folder."""
    if source in lists:
        raise DataError(f"{shown(source)}: the file list names itself; take that entry out")
    filesystem, path = open_filesystem(source, patience=patience)

    def read() -> bytes:
        with filesystem.open_input_file(path) as file:
            content: bytes = file.read()
            return content

    try:
        entries = json.loads(_told(read, source, "cannot be read", patience))
    except ValueError as fault:
        raise DataError(f"{shown(source)}: not a readable JSON file list: {fault}; write it anew") from fault
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise DataError(f"{shown(source)}: a file list is a JSON list of strings; write it as one")
    place = place_of(source)
    return [entry if is_url(entry) else place.beside(entry) for entry in entries]


def _fixed_part(pattern: str) -> str:
    """Deepest folder of a glob that has no wildcard in its name."""
    magic = _GLOB.search(pattern)
    return pattern[: magic.start()].rpartition("/")[0] or "/" if magic else pattern


def _below(source: str, *, folder: str, pattern: str | None, patience: Patience) -> Iterator[_Found]:
    """Files below a folder that match a glob, or every *.parquet; names beginning with . or _ are skipped."""
    filesystem, _ = open_filesystem(source, patience=patience)
    is_deep = pattern is None or "**" in pattern or bool(_GLOB.search(_folders_below(pattern, folder)))
    # not allow_not_found: with it, Arrow's HDFS lists nothing where no NameNode answers
    selector = fs.FileSelector(folder, recursive=is_deep)
    infos = _told(lambda: filesystem.get_file_info(selector), source, "cannot be listed", patience)
    wanted = pattern if pattern is not None else f"{folder.rstrip('/')}/**/*.parquet"
    matches = glob_expression(wanted).fullmatch
    files = [info for info in infos if info.type == fs.FileType.File and matches(info.path)]
    visible = [info for info in files if not _hidden(info.path.removeprefix(folder))]
    if not visible:
        raise DataError(f"{shown(source)}: no parquet files there; correct `sources`")
    place = place_of(source)
    yield from (_Found(place.at(info.path), info) for info in visible)


def _folders_below(pattern: str, folder: str) -> str:
    return pattern[len(folder) :].rpartition("/")[0]


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


def _inspect(found: _Found, *, named: int, patience: Patience) -> DataFile:
    filesystem, path = open_filesystem(found.location, patience=patience)

    def read() -> tuple[int, str]:
        with filesystem.open_input_file(path) as file:
            return file.size(), _footer_digest(file)

    try:
        size, footer = _told(read, found.location, "cannot be read", patience)
    except ValueError as fault:
        raise DataError(
            f"{shown(found.location)}: not a whole parquet file ({fault}); "
            "write it again or take it out of `sources`"
        ) from fault
    return DataFile(found.location, size, found.info.mtime_ns or 0, footer, named)


def _footer_digest(file: NativeFile) -> str:
    """SHA-256 of a parquet footer; raises ValueError when the file does not end as parquet does."""
    size = file.size()
    if size < FOOTER_TAIL_BYTES + len(MAGIC):
        raise ValueError("it is empty" if size == 0 else f"{size} bytes long")
    tail = file.read_at(min(size, TAIL_BYTES), max(0, size - TAIL_BYTES))
    length, mark = int.from_bytes(tail[-FOOTER_TAIL_BYTES:-4], "little"), tail[-4:]
    if mark == ENCRYPTED:
        raise ValueError("its footer is encrypted")
    if mark != MAGIC or length > size - FOOTER_TAIL_BYTES - len(MAGIC):
        is_parquet = file.read_at(len(MAGIC), 0) == MAGIC
        raise ValueError("its end is missing" if is_parquet else "it is no parquet at all")
    whole = length + FOOTER_TAIL_BYTES
    footer = tail[-whole:-FOOTER_TAIL_BYTES] if whole <= len(tail) else file.read_at(length, size - whole)
    return hashlib.sha256(footer).hexdigest()
