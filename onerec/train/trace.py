"""Traces of chosen steps by torch.profiler. A trace that cannot be written costs a warning, no training."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from onerec.progress import say

if TYPE_CHECKING:
    from collections.abc import Iterator


class Stepped(Protocol):
    """What is told that a step is done."""

    def step(self) -> None:
        """One more step is done."""


@contextmanager
def traced(folder: Path, *, name: str, steps: tuple[int, int] | None) -> Iterator[Stepped]:
    """torch.profiler over the first to the last of `steps`, counted from 1; None traces nothing.

    The trace goes to `folder`/`name`.json, in Chrome's format (Perfetto reads it).
    """
    if steps is None:
        yield _Untraced()
        return
    first, last = steps
    warmup = min(1, first - 1)  # the profiler's own start would else be part of the first step
    schedule = torch.profiler.schedule(
        wait=first - 1 - warmup, warmup=warmup, active=last - first + 1, repeat=1
    )
    with torch.profiler.profile(
        schedule=schedule, on_trace_ready=lambda profile: _export(profile, folder, name)
    ) as profiler:
        yield profiler


class _Untraced:
    def step(self) -> None:
        """Nothing is traced."""


def _export(profile: torch.profiler.profile, folder: Path, name: str) -> None:
    path = folder / f"{name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        profile.export_chrome_trace(str(path))
    except (OSError, RuntimeError) as fault:
        say(f"warning: the trace {path} cannot be written, training goes on: {fault}", is_warning=True)
