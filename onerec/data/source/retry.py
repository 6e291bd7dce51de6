"""Try again what failed for a reason that passes: a timeout, a reset connection, a server that is too busy.

What is missing, forbidden or no parquet is raised at once. Every new try is told in one line.
"""

from __future__ import annotations

import errno
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from onerec.progress import say

Result = TypeVar("Result")

HDFS_UNKNOWN = 255
"""libhdfs's errno for Java exceptions without a number: a NameNode on standby, starting or out of reach."""
PASSING_NUMBERS = frozenset(
    {
        HDFS_UNKNOWN,
        errno.EAGAIN,
        errno.EBUSY,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.EIO,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.EPIPE,
        errno.EREMOTEIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
_PASSING_TEXT = re.compile(
    r"AWS Error (NETWORK_CONNECTION|SLOW_DOWN|INTERNAL_FAILURE|SERVICE_UNAVAILABLE|THROTTLING)\b"
    r"|AWS Error REQUEST_TIMEOUT\b"
    r"|HTTP status (408|429|5\d\d)\b"
    r"|google::cloud::Status\((UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|INTERNAL|ABORTED)\b"
    rf"|\[errno ({'|'.join(map(str, sorted(PASSING_NUMBERS)))})\]"
)


def is_passing(fault: BaseException) -> bool:
    """Whether a fault of a file system may be gone a few seconds later; pure.

    The texts are those of pyarrow's S3, Google and HDFS file systems, as their servers provoke them.
    """
    if not isinstance(fault, OSError):
        return False
    if fault.errno is not None:
        return fault.errno in PASSING_NUMBERS
    return bool(_PASSING_TEXT.search(str(fault)))


@dataclass(frozen=True)
class Patience:
    """How often, and how long, something is tried again."""

    tries: int = 5
    """Most tries, the first included."""
    first_seconds: float = 2.0
    """Longest pause before the second try; each later one may be twice as long."""
    total_seconds: float = 30.0
    """No try is begun later than this after the first one; how long one takes its client decides."""
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    share: Callable[[], float] = random.random  # jitter, no secret
    """Part of the longest pause that is taken, 0 to 1, so that many readers do not come back at once."""


PATIENCE = Patience()


class Attempts:
    """Tries of one thing, which begin anew whenever it got further."""

    def __init__(self, what: str, patience: Patience) -> None:
        self._what, self._patience = what, patience
        self.got_further()

    def got_further(self) -> None:
        """Count tries and time from now."""
        self._failed = 0
        self._began = self._patience.clock()

    def pause_or_raise(self, fault: BaseException) -> None:
        """Tell the fault and pause, or raise it where another try is no use or comes too late."""
        patience = self._patience
        self._failed += 1
        pause = patience.share() * patience.first_seconds * 2 ** (self._failed - 1)
        elapsed = patience.clock() - self._began
        if not is_passing(fault) or self._failed >= patience.tries:
            raise fault
        if elapsed + pause > patience.total_seconds:
            raise fault
        trying = f"try {self._failed + 1} of {patience.tries} in {pause:.1f} s"
        say(f"{self._what}: {first_line(fault)}; {trying}", is_warning=True)
        patience.sleep(pause)


def persist(action: Callable[[], Result], *, what: str, patience: Patience = PATIENCE) -> Result:
    """Result of the action, tried again while its faults are passing; `what` names it for people."""
    attempts = Attempts(what, patience)
    while True:
        try:
            return action()
        except OSError as fault:  # noqa: PERF203 - to try again is what the loop is for
            attempts.pause_or_raise(fault)


def first_line(fault: BaseException) -> str:
    """A fault in one line of at most 300 characters."""
    return (str(fault) or type(fault).__name__).split("\n", 1)[0][:300]
