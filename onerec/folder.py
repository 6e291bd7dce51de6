"""Write a folder so that readers see the whole of it or nothing: temporary name, flush, rename.

Nothing here knows what is in the folder; a half-written one left by a killed run is replaced.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onerec.progress import sync_directory


@contextmanager
def whole_folder(target: Path, *, makes_parents: bool = True) -> Iterator[Path]:
    """Yield an empty folder beside `target` that takes its place, flushed to disk, when the block ends well.

    An earlier `target` stays until then; when the block raises, it stays for good and the new folder goes.
    Without `makes_parents` FileNotFoundError is raised where the folder around `target` is not there.
    """
    temporary = target.with_name(f".{target.name}.tmp")
    _remove(temporary)
    temporary.mkdir(parents=makes_parents)
    try:
        yield temporary
        _flush(temporary)
    except BaseException:
        _remove(temporary)
        raise
    _exchange(temporary, target)


def _exchange(new: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}.old")
    _remove(old)
    if target.exists():
        target.rename(old)
    new.rename(target)
    sync_directory(target.parent)
    _remove(old)


def _flush(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_directory(path)
        elif not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    sync_directory(folder)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
