"""What watches over one trainer from beside it: ends it when nobody wants it, and tells where it stands.

Runs as a thread of the rank shim; standard library only. The runner speaks to the shims of all hosts through
two files of the run directory: the lease, and the request to write stacks down.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from onerec.pulse import read_beacon
from runner.lease import first_look

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.rundir import RunDir

LOOK_SECONDS = 1.0


class Guard(threading.Thread):
    """Looks once a second after one trainer of this host, until `finish`."""

    def __init__(self, run: RunDir, *, nonce: str, trainer: int, stacks: Path) -> None:
        super().__init__(daemon=True, name="guard")
        self._run, self._nonce, self._trainer, self._stacks = run, nonce, trainer, stacks
        self._ended = threading.Event()
        self._lease = first_look(
            read_beacon(run.lease), nonce=nonce, host=os.uname().nodename, now=time.monotonic()
        )
        self._answered: object = None
        self.ended_because: str | None = None
        """Why the trainer was killed from here."""

    def run(self) -> None:
        """Look until the trainer has ended."""
        while not self._ended.wait(LOOK_SECONDS):
            self._answer(read_beacon(self._run.stacks_request))
            if self._lease is not None:
                now = time.monotonic()
                self._lease = self._lease.seen(read_beacon(self._run.lease), now=now)
                self.ended_because = self._lease.lost(now=now)
            if self.ended_because is not None:
                with suppress(ProcessLookupError):
                    os.kill(self._trainer, signal.SIGKILL)
                return

    def finish(self) -> None:
        """Look no more."""
        self._ended.set()
        self.join(timeout=5)

    def _answer(self, asked: Mapping[str, object] | None) -> None:
        """Write down where the trainer stands, once for each request."""
        if asked is None or asked.get("nonce") != self._nonce or asked.get("id") == self._answered:
            return
        self._answered = asked.get("id")
        with suppress(OSError):
            with self._stacks.open("a", encoding="utf-8") as file:
                file.write(f"== {time.strftime('%Y-%m-%d %H:%M:%S')}, process {self._trainer}\n")
                file.write(describe(self._trainer))
            os.kill(self._trainer, signal.SIGQUIT)  # Python adds the stacks of its threads to the same file


def describe(pid: int) -> str:
    """State, place in the kernel and memory of a process; works where Python does not run."""
    lines = []
    with suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
        wanted = ("State:", "VmRSS:", "Threads:")
        lines += [line for line in status.splitlines() if line.startswith(wanted)]
    with suppress(OSError):
        lines.append("Waits in: " + Path(f"/proc/{pid}/wchan").read_text(encoding="utf-8"))
    return "".join(f"{line}\n" for line in lines)
