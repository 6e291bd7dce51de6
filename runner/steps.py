"""The steps of a run as values: what each is told, reads and writes, and how they hang together.

Nothing here knows a manifest or a disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onerec.config import StepConfig
from onerec.errors import ConfigError
from runner.fingerprint import Ingredients

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.rundir import RunDir


@dataclass(frozen=True)
class Read:
    """One input of a step: an output of `step`, or (None) something outside the run."""

    role: str
    """The key of the step's config that names it."""
    path: str
    step: str | None = None


@dataclass(frozen=True)
class Step:
    """One program to run once: its config.json, what it reads and writes, and what it depends on."""

    name: str
    kind: str
    stage: str
    """The stage of the manifest that this step belongs to."""
    config: StepConfig
    folder: str
    """Where its config.json, command and logs are."""
    reads: tuple[Read, ...]
    outputs: tuple[str, ...]
    """Files and folders that are there once it is done."""
    launched: bool
    """Whether the cluster's launcher starts it; otherwise it is one process here."""
    ingredients: Ingredients
    fingerprint: str

    @property
    def output_dir(self) -> str:
        """Where it writes, its result.json and progress.json too: mostly its folder."""
        return self.config.output_dir

    @property
    def inputs(self) -> tuple[str, ...]:
        """Everything the step reads."""
        return tuple(read.path for read in self.reads)

    @property
    def upstream(self) -> tuple[str, ...]:
        """Steps whose outputs this one reads."""
        return tuple(dict.fromkeys(read.step for read in self.reads if read.step is not None))


@dataclass(frozen=True)
class Plan:
    """The steps of a run, in the order they run."""

    run: RunDir
    steps: tuple[Step, ...]

    @property
    def outside(self) -> tuple[str, ...]:
        """Every place outside the run that some step reads."""
        return tuple(dict.fromkeys(read.path for step in self.steps for read in step.reads if not read.step))

    def step(self, name: str) -> Step:
        """The step of that name; raises ConfigError naming the steps there are."""
        for step in self.steps:
            if step.name == name:
                return step
        raise ConfigError(f"no step {name!r}; the steps are {', '.join(step.name for step in self.steps)}")

    def downstream(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those steps and all that depend on them, in order."""
        found = set(names)
        for step in self.steps:
            if found.intersection(step.upstream):
                found.add(step.name)
        return tuple(step.name for step in self.steps if step.name in found)
