"""The append-only journal of a run, events.jsonl: one JSON object a line, numbered and checked.

What the events add up to is told by runner.history. One writer at a time: whoever holds the run's lock.
"""

from __future__ import annotations

import errno
import json
import os
import time
import zlib
from typing import TYPE_CHECKING

from onerec.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

Event = dict[str, object]


class Journal:
    """Appends events; each is on the disk before `append` returns."""

    def __init__(self, path: Path) -> None:
        """Open a journal to write; a last line that a crash tore is cut off first."""
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = _whole_length(path)
        if path.exists() and path.stat().st_size > whole:
            os.truncate(path, whole)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._seq = len(read(path))

    def append(self, event: str, **fields: object) -> None:
        """Add one event; raises StorageError when the disk does not take it."""
        body: Event = {"seq": self._seq + 1, "time": time.time(), "event": event, **fields}
        line = _text({**body, "crc": _checksum(body)}).encode() + b"\n"
        before = os.fstat(self._descriptor).st_size
        try:
            # one write, so that a reader sees the whole line or (after a crash) a torn last one
            if os.write(self._descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._descriptor)
        except OSError as fault:
            os.ftruncate(self._descriptor, before)  # else the next event would stand on a torn line
            raise StorageError(f"events.jsonl cannot be written: {fault}; free the disk and go on") from fault
        self._seq += 1

    def close(self) -> None:
        """Stop writing."""
        os.close(self._descriptor)


def read(path: Path) -> tuple[Event, ...]:
    """All events in order; a torn last line is left out.

    Raises StorageError naming the line for any other line that is damaged.
    """
    if not path.exists():
        return ()
    lines = path.read_bytes()[: _whole_length(path)].splitlines()
    return tuple(parse(line, path=path, number=number) for number, line in enumerate(lines, start=1))


def parse(line: bytes, *, path: Path, number: int) -> Event:
    """The event of line `number`, counted from 1; raises StorageError naming the line when it is damaged."""
    try:
        document: Event = json.loads(line)
        told, seq = document.pop("crc"), document["seq"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        raise _damaged(path, number, "it is no event") from fault
    if told != _checksum(document):
        raise _damaged(path, number, "its checksum does not fit")
    if seq != number:
        raise _damaged(path, number, f"it is event {seq}, so lines are missing or doubled")
    return document


def _whole_length(path: Path) -> int:
    """Bytes up to the end of the last whole line."""
    if not path.exists():
        return 0
    return path.read_bytes().rfind(b"\n") + 1


def _damaged(path: Path, number: int, what: str) -> StorageError:
    return StorageError(f"{path}, line {number}: {what}; restore the file, or start under another name")


def _text(document: Event) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _checksum(document: Event) -> str:
    return f"{zlib.crc32(_text(document).encode()):08x}"
