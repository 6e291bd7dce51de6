"""How a run is asked to stop: a control file that all its processes see, made by a person or a signal.

A first request is clean (training saves at the next step boundary), a second one ends the processes, a third
one kills them; it does not matter by which way they come.
"""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING

from onerec.progress import write_json_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType, TracebackType

    from typing_extensions import Self

STOPPED, INTERRUPTED = 75, 130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP)
"""SIGHUP comes when the terminal closes: the run is saved, unless nohup has it ignored."""
CLEANLY, NOW, KILL = 1, 2, 3
SAME_REQUEST_SECONDS = 1.0
"""A scheduler may signal a process and its group: what comes again so soon is the same request."""


def ask_to_stop(stop_file: Path, *, by: str, level: int = CLEANLY) -> None:
    """Write the control file; `level` 2 asks to end the processes without a save."""
    write_json_atomically(stop_file, {"by": by, "pid": os.getpid(), "time": time.time(), "level": level})


class StopRequests:
    """Turns signals into requests while it is entered; the main thread's handlers come back afterwards."""

    def __init__(self, stop_file: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stop_file, self._clock = stop_file, clock
        self._before: dict[int, object] = {}
        self._at_keyboard = 0
        self._by_signal = 0
        self._signalled_at = float("-inf")

    def __enter__(self) -> Self:
        self._stop_file.unlink(missing_ok=True)
        for number in SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
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
        return min(max(self._at_keyboard, self._by_signal, self._by_file()), KILL)

    @property
    def exit_code(self) -> int:
        """130 when it was asked at the keyboard, else 75."""
        return INTERRUPTED if self._at_keyboard else STOPPED

    def spread(self) -> None:
        """Let every process of the run know: write the control file that they look for."""
        if not self._stop_file.exists():
            ask_to_stop(self._stop_file, by="keyboard" if self._at_keyboard else "signal")

    def _by_file(self) -> int:
        try:
            document = json.loads(self._stop_file.read_bytes())
        except FileNotFoundError:
            return 0
        except (OSError, ValueError):
            return CLEANLY
        level = document.get("level", CLEANLY) if isinstance(document, dict) else CLEANLY
        return level if level in {CLEANLY, NOW, KILL} else CLEANLY

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            self._at_keyboard += 1
        elif self._clock() - self._signalled_at > SAME_REQUEST_SECONDS:
            self._by_signal += 1
            self._signalled_at = self._clock()
