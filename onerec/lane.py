"""A thread that does pieces of work in order, a little behind whoever asks for them.

Digests and writes to disks need no Python lock, so they go on while the next piece is computed.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

DEPTH = 2
"""Most pieces that wait, which is what bounds the memory."""


class Lane:
    """Does work in the order in which it is given; leaving it waits for all of it."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lane")
        self._waiting: deque[Future[object]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def do(self, work: Callable[..., object], *arguments: object) -> None:
        """Have work done, when there is room; raises what earlier work raised."""
        while len(self._waiting) >= DEPTH:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(work, *arguments))

    def finish(self) -> None:
        """Wait for all work; raises what one of it raised."""
        while self._waiting:
            self._waiting.popleft().result()
