"""The steps of a run as values: what each is told, reads and writes, and how they hang together.

Nothing here knows a manifest or a disk.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onerec.config import PrepareConfig, StepConfig
from onerec.errors import ConfigError
from runner.fingerprint import Ingredients, prepared_settings, settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runner.rundir import RunDir

UNKNOWN = "unknown"


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
    """Whether the cluster's launcher starts it on every rank; otherwise it is one process here."""
    ingredients: Ingredients
    fingerprint: str
    one_per_host: bool = False
    """Whether it is one process on every host where there are several, which the launcher starts."""

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


def find_ingredients(
    config: StepConfig, reads: Sequence[Read], *, made: Sequence[Step], identities: Mapping[str, str]
) -> Ingredients:
    """All that a step's outcome depends on: its settings, and what stands in each of its inputs.

    `made` are the steps before it; `identities` maps places outside the run to digests.
    """
    return {"kind": config.kind, **_settings(config), **_contents(reads, made=made, identities=identities)}


def _settings(config: StepConfig) -> Ingredients:
    if isinstance(config, PrepareConfig):
        longest = config.dataset.max_sample_length or config.dataset.max_length
        return prepared_settings(config, max_sample_length=longest)
    return settings(config)


def _contents(reads: Sequence[Read], *, made: Sequence[Step], identities: Mapping[str, str]) -> Ingredients:
    """Each input as where it comes from and what it holds; a number tells those of one role apart."""
    found: Ingredients = {}
    for number, read in enumerate(reads):
        key = f"reads.{number}.{read.role}"
        if read.step is None:
            found[key] = identities.get(read.path, UNKNOWN)
        else:
            step = next(step for step in made if step.name == read.step)
            found[key] = f"{read.step}:{os.path.relpath(read.path, step.folder)}@{step.fingerprint}"
    return found
