"""Read the footers of many files at once, and keep the faults of those that are no good instead of stopping.

Bounded in time: what was not read by then is told as not read.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from onerec.data.source.read import Footer, footer
from onerec.data.source.sources import locations_of
from onerec.errors import DataError

THREADS = 32
"""Reading a footer is mostly waiting, for a disk or for a server."""
SECONDS = 600.0
SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class Footers:
    """What the footers of a dataset's files say."""

    good: dict[str, Footer] = field(default_factory=dict)
    """By location, sorted."""
    faults: dict[str, str] = field(default_factory=dict)
    """Why a file cannot be read, by location, sorted."""
    unread: int = 0
    """Files whose footers were not read in time."""


def listed(sources: Iterable[str]) -> tuple[list[str], list[str]]:
    """Locations of the files of all sources, sorted, each once; and why sources could not be listed."""
    found: set[str] = set()
    faults = []
    for source in sources:
        locations, fault = _listed(source)
        found.update(locations)
        faults += [fault] if fault else []
    return sorted(found), faults


def _listed(source: str) -> tuple[list[str], str]:
    try:
        return list(locations_of(source)), ""
    except DataError as fault:
        return [], str(fault)


def read_footers(locations: Sequence[str], *, seconds: float = SECONDS) -> Footers:
    """The footers of all files, read by threads for at most `seconds`."""
    if not locations:
        return Footers()
    threads = ThreadPoolExecutor(min(THREADS, len(locations)))
    futures = {threads.submit(footer, location): location for location in locations}
    unread = _wait_for(futures, seconds)
    threads.shutdown(wait=False, cancel_futures=True)  # a thread that hangs on a dead mount is left behind
    good, faults = {}, {}
    for future, location in futures.items():
        if future in unread:
            continue
        fault = future.exception()
        if isinstance(fault, DataError):
            faults[location] = str(fault)
        else:
            good[location] = future.result()
    return Footers(good, faults, len(unread))


def _wait_for(futures: Iterable[Future[Footer]], seconds: float) -> set[Future[Footer]]:
    """Those that are not done when the time is over; on a terminal the others are counted as they come."""
    deadline = time.monotonic() + seconds
    waiting = set(futures)
    total = len(waiting)
    while waiting and time.monotonic() < deadline:
        patience = min(SECONDS_BETWEEN_LOOKS, max(deadline - time.monotonic(), 0))
        waiting = wait(waiting, timeout=patience).not_done
        _show(total - len(waiting), total)
    _show(total, total, is_last=True)
    return waiting


def _show(done: int, total: int, *, is_last: bool = False) -> None:
    if sys.stderr.isatty():
        text = f"reading footers: {done:,} of {total:,} files"
        sys.stderr.write("\r" + (" " * len(text) + "\r" if is_last else text))
        sys.stderr.flush()
