"""progress.json of a step: how far it is, replaced atomically at most once a second.

The runner and `status` read it; nothing else here depends on who does.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from onerec.pace import Pace


def write_json_atomically(path: Path, document: object) -> None:
    """Write JSON so that a reader, or a crash, sees the old file or the new one; never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(document, file, indent=2, sort_keys=True, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(folder: Path) -> None:
    """Flush a folder's entries, so that a rename in it survives a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Progress:
    """Counts `done` of `total` units of work and writes progress.json, with time left, as it goes.

    `done` and `total` are in `unit` (steps, files, tensors); `eta_seconds` is told once it can be judged.
    """

    def __init__(
        self, output_dir: Path, *, total: int, unit: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = output_dir / "progress.json"
        self._total, self._unit, self._clock = total, unit, clock
        self._pace = Pace()
        self._written = 0.0

    def update(self, done: int, *, eta_seconds: float | None = None, **figures: float | str | None) -> None:
        """Tell that `done` units are finished; `figures` stand beside the bar (loss, tokens_per_second)."""
        now = self._clock()
        self._pace.reach(done, now=now)
        if done < self._total and now - self._written < 1.0:
            return
        self._written = now
        if eta_seconds is None:
            eta_seconds = self._pace.seconds_left(self._total) if done < self._total else 0.0
        document = {
            "done": done,
            "total": self._total,
            "unit": self._unit,
            "eta_seconds": eta_seconds,
            **figures,
        }
        write_json_atomically(self._path, document)


def say(line: str, *, is_warning: bool = False) -> None:
    """Write a line to the console; one that cannot be written (a full disk behind it) costs nothing.

    Names of files and sources are of others: what a terminal would obey is escaped.
    """
    stream = sys.stderr if is_warning else sys.stdout
    shown = "".join(
        mark if mark.isprintable() or mark in "\n\t" else mark.encode("unicode_escape").decode()
        for mark in line
    )
    with contextlib.suppress(OSError):
        stream.write(f"{shown}\n")
        stream.flush()
