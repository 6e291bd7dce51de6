"""Scalars for TensorBoard, written by the caller: no queue and no thread, so there is none that can die.

A fault is raised where the scalars are handed over; whoever does that decides what it costs.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Board:
    """A folder of event files. After a fault the next scalars begin a new file: a torn one ends what is read.

    `start` steps are done already; what an earlier attempt told of later ones is no longer shown.
    """

    def __init__(self, folder: Path, *, start: int) -> None:
        self._folder, self._purged_from = folder, start + 1 if start else None
        self._opened = 0
        self._file: Any = None

    def draw(self, scalars: Mapping[str, float], step: int) -> None:
        """Write scalars of a step, so that they are shown at once. Raises OSError, ImportError."""
        from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: PLC0415 - slow, rank 0 only

        if self._file is None:
            self._open()
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._write(step=step, summary=Summary(value=values))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file, file = None, self._file
            file.close()

    def _open(self) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog  # noqa: PLC0415

        self._folder.mkdir(parents=True, exist_ok=True)
        self._opened += 1
        # files are read in the order of their names
        place = f"{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{self._opened}"
        self._file = (self._folder / f"events.out.tfevents.{place}").open("ab", buffering=0)
        self._write(file_version="brain.Event:2")
        if self._purged_from is not None:
            self._write(step=self._purged_from, session_log=SessionLog(status=SessionLog.START))
            self._purged_from = None

    def _write(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415
        from tensorboard.summary.writer.record_writer import RecordWriter  # noqa: PLC0415

        event = Event(wall_time=time.time(), **content)
        try:
            RecordWriter(_Whole(self._file)).write(event.SerializeToString())
        except OSError:
            with contextlib.suppress(OSError):
                self.close()
            raise


class _Whole:
    """A file that takes a record whole or fails; plain files may take a part when a disk is full."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, record: bytes) -> None:
        written = self._file.write(record)
        if written != len(record):
            raise OSError(f"only {written} of {len(record)} bytes could be written")
