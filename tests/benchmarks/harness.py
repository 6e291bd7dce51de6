"""What a row of the benchmarks is: figures of ours and of a peer, a goal, and whether it was met.

A file `c<nn>_<name>.py` registers rows with `@benchmark`; each is set up once, then its contenders run in
turn (A-B-A-B) so that a busy machine slows all of them. A row whose results are wrong raises Void and has no
figures.
"""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).parent


class Void(Exception):
    """Why a row has no figures: its results are wrong, or a contender could not run."""


@dataclass(frozen=True)
class Figure:
    """What one contender reached: a value for each repeat, all in one unit."""

    name: str
    values: tuple[float, ...]
    unit: str = "s"

    @property
    def median(self) -> float:
        """Middle of the repeats."""
        return statistics.median(self.values)


@dataclass(frozen=True)
class Goal:
    """A bound, on how many times (`x`) ours stands against the peer, or in another unit on ours alone.

    `at_least(3)` wants the peer's figure to be 3 times ours, `at_most(1.2)` ours to be 1.2 times the peer's.
    """

    sign: Literal[">=", "<="]
    bound: float
    unit: str = "x"

    def value(self, ours: Figure, peer: Figure | None) -> float:
        """The number that the bound is for."""
        if self.unit != "x":
            return ours.median
        assert peer is not None, "a goal in times needs a peer"
        better, base = (peer, ours) if self.sign == ">=" else (ours, peer)
        return better.median / base.median if base.median else float("inf")

    def is_met(self, value: float) -> bool:
        """Whether the number keeps the bound."""
        return value >= self.bound if self.sign == ">=" else value <= self.bound


def at_least(bound: float, unit: str = "x") -> Goal:
    """The goal that a figure reaches a bound."""
    return Goal(">=", bound, unit)


def at_most(bound: float, unit: str = "x") -> Goal:
    """The goal that a figure stays within a bound."""
    return Goal("<=", bound, unit)


@dataclass(frozen=True)
class Line:
    """One line of the table; without a goal it is for information."""

    workload: str
    ours: Figure | None = None
    peer: Figure | None = None
    goal: Goal | None = None
    void: str = ""
    """Why there are no figures; empty when there are."""
    note: str = ""
    """Text that is shown below the table."""

    @property
    def value(self) -> float | None:
        """The number that the goal is for; without a goal, how many times the peer's figure is ours."""
        if self.void or self.ours is None:
            return None
        if self.goal is not None:
            return self.goal.value(self.ours, self.peer)
        return at_least(0).value(self.ours, self.peer) if self.peer else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal, never true for a void line."""
        if self.goal is None and not self.void:
            return None
        return self.value is not None and self.goal is not None and self.goal.is_met(self.value)


Lines = Iterable[Line]


@dataclass(frozen=True)
class Benchmark:
    """One row group of the goals."""

    row: str
    title: str
    measure: Callable[..., Lines]
    needs_peers: bool = True


@dataclass
class Registry:
    """The rows that files have registered, by name."""

    rows: dict[str, Benchmark] = field(default_factory=dict)

    def benchmark(
        self, row: str, title: str, *, needs_peers: bool = True
    ) -> Callable[[Callable[..., Lines]], Callable[..., Lines]]:
        """Register a function of a Bench that gives the lines of a row; raises ValueError when it has one."""

        def register(measure: Callable[..., Lines]) -> Callable[..., Lines]:
            if row in self.rows:
                raise ValueError(f"row {row} is registered twice: {self.rows[row].title}, {title}")
            self.rows[row] = Benchmark(row, title, measure, needs_peers)
            return measure

        return register

    def chosen(self, names: Iterable[str]) -> list[Benchmark]:
        """The rows of these names, or all, by number; raises ValueError for an unknown name."""
        ordered = sorted(self.rows, key=lambda row: int(row[1:]))
        unknown = sorted(set(names) - set(ordered))
        if unknown:
            raise ValueError(f"no such row: {', '.join(unknown)}; there are {', '.join(ordered)}")
        return [self.rows[row] for row in ordered if row in names or not names]


REGISTRY = Registry()
benchmark = REGISTRY.benchmark


def load_rows(folder: Path = HERE) -> None:
    """Import every file of rows, which registers them."""
    for path in sorted(folder.glob("c[0-9][0-9]_*.py")):
        importlib.import_module(f"tests.benchmarks.{path.stem}")


def measured(chosen: Benchmark, bench: object) -> list[Line]:
    """The lines of a row; one void line when its results are wrong or a contender failed."""
    try:
        return list(chosen.measure(bench))
    except Void as reason:
        return [Line(chosen.title, void=str(reason))]


Run = Mapping[str, Any]
"""What one repeat of a contender tells: `seconds`, and facts by which results are compared."""


def in_turn(contenders: Mapping[str, Callable[[], Run]], *, repeats: int) -> dict[str, list[Run]]:
    """Run contenders A-B-A-B; the runs of each, in order."""
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            runs[name].append(run())
    return runs


def figure(name: str, runs: Iterable[Run], *, key: str = "seconds", unit: str = "s") -> Figure:
    """One number of every run."""
    return Figure(name, tuple(float(run[key]) for run in runs), unit)


def require_equal(what: str, values: Mapping[str, object]) -> None:
    """Void the row unless all contenders tell the same value."""
    if len({repr(value) for value in values.values()}) > 1:
        told = ", ".join(f"{name} {value}" for name, value in values.items())
        raise Void(f"{what} differ: {told}")
