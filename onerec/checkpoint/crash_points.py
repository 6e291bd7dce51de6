"""Named moments of a save, at which tests end the process; in a run nothing happens at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Callable

CrashPoint = Literal[
    "before data", "mid data", "before commit", "before rename", "after rename", "before prune"
]
CRASH_POINTS: tuple[CrashPoint, ...] = get_args(CrashPoint)
"""In the order in which a save passes them."""

observers: list[Callable[[CrashPoint, int], None]] = []
"""Called with the point and the optimizer step of the checkpoint; empty but in tests."""


def reach(point: CrashPoint, *, step: int) -> None:
    """Tell that the save of `step` has come to `point`; rank 0 alone comes to all of them."""
    for observer in observers:
        observer(point, step)
