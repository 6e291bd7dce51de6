"""Python's garbage collection between steps, on all ranks at the same time."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def garbage_collected_by_hand() -> Iterator[None]:
    """Collect only when `collect_garbage` is called: a rank that stops for it keeps all others waiting."""
    gc.collect()
    gc.freeze()  # model and optimizer stay; no collection needs to look at them
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


def collect_garbage(*, everything: bool) -> None:
    """Collect what the last steps left behind, or everything: slower, and seldom needed."""
    gc.collect(2 if everything else 1)
