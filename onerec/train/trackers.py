"""Trackers beside TensorBoard: rows go to each from a thread of its own, so that none can block a step.

The first fault of a tracker, or a queue that it does not empty, is told once and switches it off; training
goes on. No number of the training passes through here.
"""

from __future__ import annotations

import importlib.util
import json
import math
import queue
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from onerec.errors import ConfigError
from onerec.progress import say, write_json_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

EndState = Literal["done", "failed", "stopped"]
QUEUE_ROWS = 1000
"""Rows that may wait for a tracker; one that lets more wait hangs."""
FINISH_SECONDS = 20.0
"""How long the end of a stage waits for what a tracker has not taken yet."""


class Tracker(Protocol):
    """One service; every method may raise whatever its package raises, and may take as long as it likes."""

    def start(self, run: str, *, config: Mapping[str, Any], resume_id: str | None) -> str:
        """Begin a run, or go on with the one that had this id; returns the id to go on with."""

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Send figures of a step."""

    def finish(self, state: EndState) -> None:
        """Send what is left and close the run."""


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told about a stage, and where its id is kept."""

    name: str
    config: Mapping[str, Any]
    folder: Path
    """Holds `NAME.json` with the id, and what the package itself writes."""
    env: Mapping[str, str] = field(default_factory=dict)
    """May name the project."""


class TrackerThread:
    """Hands rows to one tracker. Its thread begins with the first row, when the data workers are forked."""

    def __init__(
        self,
        name: str,
        make: Callable[[], Tracker],
        *,
        run: TrackedRun,
        queue_rows: int = QUEUE_ROWS,
        finish_seconds: float = FINISH_SECONDS,
    ) -> None:
        self._name, self._make, self._run = name, make, run
        self._finish_seconds = finish_seconds
        self._waiting: queue.Queue[tuple[Mapping[str, float], int] | EndState] = queue.Queue(queue_rows)
        self._thread: threading.Thread | None = None
        self._is_off = False

    def tell(self, scalars: Mapping[str, float], step: int) -> None:
        """Leave figures for the tracker; returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"tracker {self._name}", daemon=True)
            self._thread.start()
        self._leave(({tag: value for tag, value in scalars.items() if math.isfinite(value)}, step))

    def close(self, state: EndState) -> None:
        """Let the tracker take what is left, for as long as that may last."""
        if self._thread is None or self._is_off:
            return
        self._leave(state)
        self._thread.join(self._finish_seconds)
        if self._thread.is_alive():
            self._switch_off(f"it did not end within {self._finish_seconds:g} s")

    def _leave(self, item: tuple[Mapping[str, float], int] | EndState) -> None:
        if self._is_off:
            return
        try:
            self._waiting.put_nowait(item)
        except queue.Full:
            self._switch_off(f"it hangs, {self._waiting.maxsize} rows wait for it")

    def _work(self) -> None:
        try:
            tracker = self._make()
            record = self._run.folder / f"{self._name}.json"
            found = tracker.start(self._run.name, config=self._run.config, resume_id=_id_of(record))
            write_json_atomically(record, {"id": found})
            while not isinstance(item := self._waiting.get(), str):
                if self._is_off:
                    return
                tracker.log(*item)
            tracker.finish(item)
        except Exception as fault:  # noqa: BLE001 - packages of others raise anything, which ends no training
            self._switch_off(f"{type(fault).__name__}: {fault}")

    def _switch_off(self, why: str) -> None:
        if not self._is_off:
            self._is_off = True
            told = " ".join(why.split())[:300]
            say(f"warning: {self._name} is switched off, training goes on: {told}", is_warning=True)


class Trackers:
    """All trackers of a stage."""

    def __init__(self, names: Iterable[str], *, run: TrackedRun) -> None:
        self._threads = [TrackerThread(name, _maker(name, run), run=run) for name in names]

    def tell(self, scalars: Mapping[str, float], step: int) -> None:
        """Leave figures for every tracker."""
        for thread in self._threads:
            thread.tell(scalars, step)

    def close(self, state: EndState) -> None:
        """End every tracker."""
        for thread in self._threads:
            thread.close(state)


def check_trackers(names: Iterable[str]) -> None:
    """Raises ConfigError naming the packages that are not installed; imports none of them."""
    missing = [name for name in names if not is_installed(name)]
    if missing:
        raise ConfigError(
            f"training.trackers: {', '.join(missing)} is not installed in this environment; "
            f'pip install "onerec-runner[{",".join(missing)}]", or take it out of trackers'
        )


def is_installed(package: str) -> bool:
    """Whether a package can be imported; a folder of its name, as wandb leaves them, is none."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def _maker(name: str, run: TrackedRun) -> Callable[[], Tracker]:
    def make() -> Tracker:
        from onerec.train import tracker_packages  # noqa: PLC0415 - only when a tracker is asked for

        return tracker_packages.MAKERS[name](run.folder, run.env)

    return make


def _id_of(record: Path) -> str | None:
    """The id that an earlier attempt at the stage left."""
    try:
        found = json.loads(record.read_bytes())["id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None
