"""Tell a command of the user's that a run has ended: JSON on its stdin, what it writes in notify.log.

Whatever the command does, it changes nothing about the run, and is waited for no longer than it was given.
"""

from __future__ import annotations

import errno
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from onerec.errors import OneRecError
from runner.observe import observe
from runner.printable import printable
from runner.stop import INTERRUPTED, STOPPED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.manifest.tables import Notify
    from runner.rundir import RunDir
    from runner.status import RunStatus, StageStatus

SCHEMA_VERSION = 1
LOG_BYTES = 64 * 1024
"""So much of what one command writes is kept; the rest is read and forgotten."""
REASON_CHARACTERS = 4000
POLL_SECONDS = 0.05
FIGURES = (
    "step",
    "total_steps",
    "loss",
    "validation_loss",
    "tokens_per_second",
    "latest_checkpoint",
    "attempts",
)
"""Keys of a stage's status that are told."""
NOT_REACHED = frozenset({"done", "pending", "stale"})
"""States of stages that did not end a run."""


def notify(run: RunDir, settings: Notify, *, code: int, reason: str | None = None) -> str | None:
    """Tell that the run ended with `code`; returns what to complain about, if anything."""
    state = state_of(code)
    if not settings.command or state not in settings.on:
        return None
    told = payload(_status_of(run), run_dir=str(run.path), code=code, reason=reason, now=time.time())
    why = _tell(run, settings, json.dumps(told).encode() + b"\n", headline=f"{state} ({code})")
    if why is None:
        return None
    return f"warning: notify.command: {printable(settings.command[0])} {printable(why)}; see {run.notify_log}"


def _status_of(run: RunDir) -> RunStatus:
    """How the run stands; without any stage where its record cannot be read, for that too is to be told."""
    try:
        return observe(run)
    except (OSError, OneRecError):
        return {
            "schema_version": SCHEMA_VERSION,
            "run": run.name,
            "state": "failed",
            "stages": [],
            "reason": None,
            "started_time": None,
            "last_updated_time": None,
        }


def state_of(code: int) -> str:
    """done, stopped or failed, by the exit code of the run."""
    return "done" if code == 0 else "stopped" if code in {STOPPED, INTERRUPTED} else "failed"


def payload(
    status: RunStatus, *, run_dir: str, code: int, reason: str | None, now: float
) -> dict[str, object]:
    """What the command reads: the run, how it ended, and the newest figures of the stage it is about."""
    stage = _stage_of(status, state=state_of(code))
    why = reason or (stage["reason"] if stage and code else None) or (status["reason"] if code else None)
    known: Mapping[str, Any] = stage or {}
    return {
        "schema_version": SCHEMA_VERSION,
        "run": status["run"],
        "state": state_of(code),
        "stage": stage["name"] if stage else None,
        "reason": why[:REASON_CHARACTERS] if why else None,
        "exit_code": code,
        "run_dir": run_dir,
        "host": socket.gethostname(),
        "time": now,
        "figures": {key: known[key] for key in FIGURES if known.get(key) is not None},
    }


def _stage_of(status: RunStatus, *, state: str) -> StageStatus | None:
    """The stage that ended the run; of one that is done the last that trained."""
    if state == "done":
        return next((stage for stage in reversed(status["stages"]) if stage["kind"] == "train"), None)
    return next((stage for stage in status["stages"] if stage["state"] not in NOT_REACHED), None)


def _tell(run: RunDir, settings: Notify, text: bytes, *, headline: str) -> str | None:
    """Run the command; returns why that did not go well."""
    with _open_log(run) as log:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        _note(log, f"{moment} {headline}: {json.dumps(settings.command)}\n".encode())
        began = time.monotonic()
        why: str | None
        try:
            process = _start(settings.command, text)
        except OSError as fault:
            why = f"cannot be started: {fault.strerror}"
        else:
            why = _follow(process, log=log, deadline=began + settings.timeout_seconds)
        _note(log, f"{why or 'ended well'} ({time.monotonic() - began:.1f} s)\n".encode())
    return why


def _open_log(run: RunDir) -> BinaryIO:
    """The log; where it cannot be written the command is told all the same."""
    try:
        return run.notify_log.open("ab", buffering=0)
    except OSError:
        return Path(os.devnull).open("ab", buffering=0)


def _note(log: BinaryIO, text: bytes) -> int:
    """Write what a disk takes; returns how much there was."""
    with suppress(OSError):
        log.write(text)
    return len(text)


def _start(command: tuple[str, ...], text: bytes) -> subprocess.Popen[bytes]:
    """The command in a session of its own, which dies with this process; raises OSError if it cannot be."""
    if shutil.which(command[0]) is None:
        raise FileNotFoundError(errno.ENOENT, "it is not there, or not executable", command[0])
    # in memory: nothing waits for a reader, as with a pipe, and no disk has to take it
    with os.fdopen(os.memfd_create("notify"), "w+b", buffering=0) as told:
        told.write(text)
        told.seek(0)
        return subprocess.Popen(
            [sys.executable, "-m", "runner.tether", str(os.getpid()), "--", *command],
            stdin=told,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _follow(process: subprocess.Popen[bytes], *, log: BinaryIO, deadline: float) -> str | None:
    """Read what it writes until it ends, or the time is over; nothing of it is left behind."""
    assert process.stdout is not None
    has_ended, left = False, LOG_BYTES
    try:
        while not has_ended and time.monotonic() < deadline:
            has_ended = _has_ended(process)
            left -= _copy(process.stdout, log, most=left, wait_seconds=0.0 if has_ended else POLL_SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and whatever it has started
        code = process.wait()
        process.stdout.close()
    if not has_ended:
        return "took too long and was ended"
    return None if code == 0 else f"ended with {code}"


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has; it is not reaped, so that its number stays its own until its group is ended."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _copy(source: IO[bytes], log: BinaryIO, *, most: int, wait_seconds: float) -> int:
    """Copy what there is to read, up to `most` bytes; returns how many were written."""
    ready, _, _ = select.select([source], [], [], wait_seconds)
    part = os.read(source.fileno(), 1 << 16) if ready else b""
    if not part:
        time.sleep(wait_seconds if ready else 0)  # it closed what it writes to, and goes on
    return _note(log, part[:most])
