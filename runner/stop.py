"""How a run is asked to stop: a control file that all its processes see, made by a person or a signal.

A first request is clean (training saves at the next step boundary); at the keyboard a second one ends the
processes, a third one kills them.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from onerec.progress import write_json_atomically

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType, TracebackType

    from typing_extensions import Self

STOPPED, INTERRUPTED = 75, 130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


def ask_to_stop(stop_file: Path, *, by: str) -> None:
    """Write the control file."""
    write_json_atomically(stop_file, {"by": by, "pid": os.getpid(), "time": time.time()})


class StopRequests:
    """Turns signals into requests while it is entered; the main thread's handlers come back afterwards."""

    def __init__(self, stop_file: Path) -> None:
        self._stop_file = stop_file
        self._before: dict[int, object] = {}
        self._at_keyboard = 0
        self._signalled = False

    def __enter__(self) -> Self:
        self._stop_file.unlink(missing_ok=True)
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @property
    def level(self) -> int:
        """0: nothing asked; 1: stop cleanly; 2: end the processes; 3: kill them."""
        if self._at_keyboard:
            return min(self._at_keyboard, 3)
        return int(self._signalled or self._stop_file.exists())

    @property
    def exit_code(self) -> int:
        """130 when it was asked at the keyboard, else 75."""
        return INTERRUPTED if self._at_keyboard else STOPPED

    def spread(self) -> None:
        """Let every process of the run know: write the control file that they look for."""
        if not self._stop_file.exists():
            ask_to_stop(self._stop_file, by="keyboard" if self._at_keyboard else "signal")

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            self._at_keyboard += 1
        else:
            self._signalled = True
