"""A file system behind hdfs://flaky that is the local one, until it is told to fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from onerec.data.source import filesystem
from onerec.data.source.retry import Patience

RESET = OSError("AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 56, reset by peer")
FORBIDDEN = OSError("AWS Error ACCESS_DENIED during HeadObject operation: No response body.")


class Flaky(fs.FileSystemHandler):
    """Counts what is asked and raises, for each kind of request, the faults that `faults` has left for it."""

    def __init__(self) -> None:
        self.local = fs.LocalFileSystem()
        self.faults: dict[str, list[OSError]] = {}
        self.asked: list[str] = []
        self.before_read: Callable[[int], None] = lambda position: None
        """Called with the place of each read; may raise."""

    def _ask(self, kind: str) -> None:
        self.asked.append(kind)
        if self.faults.get(kind):
            raise self.faults[kind].pop()

    def get_file_info(self, paths):
        self._ask("info")
        return self.local.get_file_info(paths)

    def get_file_info_selector(self, selector):
        self._ask("list")
        return self.local.get_file_info(selector)

    def open_input_file(self, path):
        self._ask("open")
        return pa.PythonFile(_File(self.local.open_input_file(path), self), mode="r")

    open_input_stream = open_input_file

    def get_type_name(self):
        return "flaky"

    def normalize_path(self, path):
        return path

    def create_dir(self, path, recursive):
        raise NotImplementedError

    delete_dir = delete_dir_contents = delete_file = create_dir
    delete_root_dir_contents = move = copy_file = open_output_stream = open_append_stream = create_dir


class _File:
    def __init__(self, file: pa.NativeFile, home: Flaky) -> None:
        self._file, self._home = file, home
        self.closed = False

    def read(self, count=-1):
        self._home._ask("read")
        self._home.before_read(self._file.tell())
        return self._file.read(None if count < 0 else count)

    def seek(self, position, whence=0):
        return self._file.seek(position, whence)

    def tell(self):
        return self._file.tell()

    def close(self):
        self.closed = True
        self._file.close()


@contextmanager
def flaky_filesystem() -> Iterator[Flaky]:
    """The file system behind hdfs://flaky/absolute/path."""
    handler = Flaky()
    key = (os.getpid(), "hdfs", "flaky", "")
    filesystem._opened[key] = fs.PyFileSystem(handler)
    try:
        yield handler
    finally:
        del filesystem._opened[key]


def url(path: Path | str) -> str:
    """The URL of a local path."""
    return f"hdfs://flaky{path}"


def hurried(slept: list[float] | None = None) -> Patience:
    """Patience that does not sleep; what it would have slept is appended."""
    return Patience(sleep=(slept if slept is not None else []).append, share=lambda: 1.0)
