"""What rows measure with: device, sizes, packs, models that several rows share, and the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch

from onerec.data.loading.batch import Pack
from tests.benchmarks.gpu_rows import samples
from tests.benchmarks.gpu_rows.gauge import Gauge
from tests.benchmarks.gpu_rows.sizes import Sizes
from tests.benchmarks.harness import Figure, Void

PACKS = 8
"""Packs that steps are taken on in turn."""
WARM_UP_STEPS = 4
"""Enough for compiled layers to have seen other numbers of documents."""


class Contender(Protocol):
    """A way to train."""

    name: str
    state_bytes: int
    """What it holds between steps."""

    def step(self, pack: Pack) -> object:
        """One optimizer step; the device may still be at it."""


@dataclass(frozen=True)
class Turn:
    """What some steps in a row came to."""

    seconds: float
    trained_tokens: int
    tokens: int
    squared_lengths: int
    peak_bytes: int
    """Most memory, others' state left out."""


@dataclass
class Lab:
    """The one workplace of all rows."""

    sizes: Sizes
    gauge: Gauge
    folder: Path
    """Where rows may write; removed afterwards."""
    tell: Callable[[str], None]
    deadline: float
    """On time.monotonic()."""
    checkpointing: str
    """Activation checkpointing of ours where a row compares speed."""
    _facts: dict[str, Any] = field(default_factory=dict)
    _contenders: dict[str, Contender] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where everything runs."""
        return self.gauge.device

    @property
    def seconds_left(self) -> float:
        """Until no row may run any more."""
        return self.deadline - time.monotonic()

    @cached_property
    def store(self) -> Path:
        """A prepared store of the corpus."""
        return samples.write_store(self.folder / "store", self.sizes)

    @cached_property
    def packs(self) -> list[Pack]:
        """Packs of the store, in memory."""
        return samples.packs(self.store, self.sizes, count=PACKS)

    def once(self, name: str, measure: Callable[[], Any]) -> Any:
        """What `measure` tells, measured once however many rows want it."""
        if name not in self._facts:
            self._facts[name] = measure()
        return self._facts[name]

    def built(self, name: str, build: Callable[[], Contender]) -> Any:
        """A contender, built once and kept; how much it holds is measured while nothing else happens."""
        if name not in self._contenders:
            began = time.monotonic()
            self.gauge.release()
            before = self.gauge.allocated()
            contender = self._contenders[name] = build()
            self.gauge.wait()
            contender.name, contender.state_bytes = name, max(1, self.gauge.allocated() - before)
            self.tell(f"  made {name} in {time.monotonic() - began:.1f} s")
        return self._contenders[name]

    def keep_only(self, *names: str) -> None:
        """Drop all other contenders and all compiled code, to which other models would add theirs."""
        dropped = [name for name in self._contenders if name not in names]
        for name in dropped:
            del self._contenders[name]
        if dropped:
            torch._dynamo.reset()
        self.gauge.release()

    def turns(
        self,
        *contenders: Contender,
        turns: int | None = None,
        steps: int | None = None,
        warm_up: int = WARM_UP_STEPS,
    ) -> list[list[Turn]]:
        """Let contenders take steps in turn (A-B-A-B), each warm; the turns of each.

        There are fewer turns, at least one, where the time that is left would not do for all.
        """
        for contender in contenders:
            began = time.monotonic()
            self._steps(contender, warm_up)
            self.tell(f"  {contender.name}: {warm_up} steps to get warm in {time.monotonic() - began:.1f} s")
        made: list[list[Turn]] = [[] for _ in contenders]
        for _ in range(turns or self.sizes.turns):
            began = time.monotonic()
            for mine, contender in zip(made, contenders, strict=True):
                mine.append(self._turn(contender, steps or self.sizes.steps, alone=len(contenders) == 1))
            if self.seconds_left < 2 * (time.monotonic() - began):
                break
        return made

    def _turn(self, contender: Contender, steps: int, *, alone: bool) -> Turn:
        if not alone:  # the allocator rearranges what the one before has left
            self._steps(contender, 1)
        others = max(0, self.gauge.allocated() - contender.state_bytes)
        self.gauge.forget_peak()
        seconds = self.gauge.seconds(lambda: self._steps(contender, steps))
        taken = self._next(steps)
        return Turn(
            seconds=seconds,
            trained_tokens=sum(pack.trained_tokens for pack in taken),
            tokens=sum(pack.tokens for pack in taken),
            squared_lengths=sum(squared_lengths(pack) for pack in taken),
            peak_bytes=max(1, self.gauge.peak() - others),
        )

    def _steps(self, contender: Contender, count: int) -> None:
        for pack in self._next(count):
            contender.step(pack)
        self.gauge.wait()

    def _next(self, count: int) -> list[Pack]:
        return [self.packs[number % len(self.packs)] for number in range(count)]


def squared_lengths(pack: Pack) -> int:
    """Sum of the squared lengths of a pack's documents, padding left out."""
    lengths = pack.cu_seqlens.diff().long()[: pack.samples]
    return int((lengths * lengths).sum())


def seconds_a_token(name: str, turns: Sequence[Turn]) -> Figure:
    """Time of a trained token, for comparing with another."""
    return Figure(name, tuple(turn.seconds / turn.trained_tokens for turn in turns))


def tokens_a_second(name: str, turns: Sequence[Turn]) -> str:
    """Trained tokens/s, for a note."""
    return f"{name} {1 / seconds_a_token(name, turns).median:,.0f} trained tokens/s"


def megabytes(name: str, amounts: Sequence[int]) -> Figure:
    """Bytes as a figure in MB."""
    return Figure(name, tuple(amount / 1e6 for amount in amounts), "MB")


def need_seconds(lab: Lab, seconds: float) -> None:
    """Void a row for which too little time is left."""
    if lab.seconds_left < seconds:
        raise Void(f"it wants about {seconds:.0f} s, {lab.seconds_left:.0f} s are left; run it alone")
