"""Start the launchers of one attempt, watch them to their end, and pass requests to stop on to them.

Main thread only: a launcher lives as long as the thread that started it. Nothing outlives an attempt.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from runner.launch.environment import is_scrubbed
from runner.observe import read_document
from runner.process import is_alive, kill

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from runner.launch.values import Command
    from runner.rundir import StepDir
    from runner.stop import StopRequests

POLL_SECONDS = 0.05
WATCH_SECONDS = 0.5
TERM_GRACE_SECONDS = 10.0
OTHERS_GRACE_SECONDS = 20.0
"""How long the launchers of other hosts may go on after one of them failed."""


def run_to_end(
    commands: Sequence[Command],
    *,
    home: StepDir,
    env: Mapping[str, str],
    stop: StopRequests,
    grace_seconds: float,
    watch: Callable[[], bool],
) -> tuple[int, ...]:
    """Start all commands, wait for all of them; returns their exit codes (-n for signal n).

    `grace_seconds` is how long the step may take to save and end once it is asked to stop, since it looks for
    the control file; 0 for a step that does not, which is ended at the first request.
    `watch` is called about twice a second; once it returns true everything is killed.
    """
    with ExitStack() as stack:
        logs = [stack.enter_context(path.open("ab")) for path in (home.stdout, home.stderr)]
        launchers = [_start(command, env=env, logs=logs) for command in commands]
        stack.callback(_kill_all, launchers)
        ending = _Ending(launchers, grace_seconds=grace_seconds)
        watched = 0.0
        while any(launcher.poll() is None for launcher in launchers):
            ending.follow(stop)
            if time.monotonic() - watched >= WATCH_SECONDS:
                if watch():
                    ending.kill()
                watched = time.monotonic()
            time.sleep(POLL_SECONDS)
        watch()
        return tuple(launcher.returncode for launcher in launchers)


def kill_leftovers(log_dir: Path) -> int:
    """Kill what an attempt left running on this host; returns how many processes that were."""
    records = [read_document(path) for path in sorted(log_dir.glob("rank-*.pid.json"))]
    processes = [record[role] for record in records for role in ("shim", "trainer") if role in record]
    killed = sum(kill(process) for process in processes)  # type: ignore[arg-type]
    deadline = time.monotonic() + TERM_GRACE_SECONDS
    while any(is_alive(process) for process in processes) and time.monotonic() < deadline:  # type: ignore[arg-type]
        time.sleep(POLL_SECONDS)
    return killed


class _Ending:
    """Ends launchers: as far as was asked, and those of other hosts once one has failed."""

    def __init__(self, launchers: Sequence[subprocess.Popen[bytes]], *, grace_seconds: float) -> None:
        self._launchers = launchers
        self._grace_seconds = grace_seconds
        self._asked_at: float | None = None
        self._sent = 0
        self._term_at: float | None = None
        self._failed_at: float | None = None

    def follow(self, stop: StopRequests) -> None:
        """Do what the requests so far ask for."""
        now = time.monotonic()
        level = stop.level
        if level:
            stop.spread()
            self._asked_at = self._asked_at or now
        is_overdue = self._asked_at is not None and now - self._asked_at >= self._grace_seconds
        if is_overdue:
            level = max(level, 2)
        if self._has_failed(now):
            level = max(level, 2)
        if self._term_at is not None and is_overdue and now - self._term_at > TERM_GRACE_SECONDS:
            level = 3
        if level >= 2 and level > self._sent:
            self._sent = level
            self._term_at = self._term_at or now
            for launcher in self._launchers:
                _signal_group(launcher, signal.SIGTERM if level == 2 else signal.SIGKILL)

    def kill(self) -> None:
        """Kill all launchers: what hangs hears no request."""
        for launcher in self._launchers:
            _signal_group(launcher, signal.SIGKILL)

    def _has_failed(self, now: float) -> bool:
        if self._failed_at is None and any(launcher.poll() for launcher in self._launchers):
            self._failed_at = now
        return self._failed_at is not None and now - self._failed_at > OTHERS_GRACE_SECONDS


def _start(command: Command, *, env: Mapping[str, str], logs: Sequence[BinaryIO]) -> subprocess.Popen[bytes]:
    """A launcher in a session of its own, which Ctrl-C does not reach and which dies with this thread."""
    inherited = {name: value for name, value in env.items() if not is_scrubbed(name)}
    return subprocess.Popen(
        [sys.executable, "-m", "runner.tether", str(os.getpid()), "--", *command.argv],
        env={**inherited, **command.env, "RUNNER_PID": str(os.getpid())},
        stdin=subprocess.DEVNULL,
        stdout=logs[0],
        stderr=logs[1],
        start_new_session=True,
    )


def _signal_group(launcher: subprocess.Popen[bytes], number: int) -> None:
    if launcher.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(launcher.pid, number)


def _kill_all(launchers: Sequence[subprocess.Popen[bytes]]) -> None:
    for launcher in launchers:
        _signal_group(launcher, signal.SIGKILL)
        launcher.wait()
