"""A plan while it is drawn up: the steps so far, the models on the way, and how a step is added.

Knows no kind of stage; those are in the files beside this one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from onerec.config import Section, StageSource, StepConfig, Vocab
from onerec.errors import ConfigError
from runner.fingerprint import fingerprint
from runner.steps import Read, Step, find_ingredients

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from runner.manifest.tables import Manifest
    from runner.rundir import RunDir, StepDir

SectionT = TypeVar("SectionT", bound=Section)
BASE = "base"
"""What the model of model.base_model_dir is called, which no stage gives its name."""


@dataclass(frozen=True)
class ModelOnTheWay:
    """A Hugging Face folder: who writes it, and whose tokenizer and chat rendering it has."""

    name: str
    """The stage that gives it."""
    model_dir: str
    step: str | None
    tokenizer_dir: str
    tokenizer_step: str | None
    add_think_pattern: bool = False


@dataclass
class Draft:
    """The steps so far, and what later ones need to know of them."""

    manifest: Manifest
    run: RunDir
    identities: Mapping[str, str]
    steps: list[Step] = field(default_factory=list)
    models: dict[str, ModelOnTheWay] = field(default_factory=dict)
    """Models by the stage that gives them."""
    prepared: dict[str, str] = field(default_factory=dict)
    """Tokenizer folder that each dataset is prepared with."""

    @cached_property
    def vocab(self) -> Vocab:
        """[vocab] as steps are told it: without the item map, which only some of them read."""
        return section(Vocab, self.manifest.vocab)

    def model_before(self, starts_from: str | None) -> ModelOnTheWay:
        """The model that a stage starts from: the one that it names, or the newest, or the base model."""
        if starts_from is not None:
            return self.models[starts_from]
        if self.models:
            return next(reversed(self.models.values()))
        base = self.manifest.model.base_model_dir
        if base is None:
            raise ConfigError(
                "model.base_model_dir is missing and no earlier stage gives a model; give either"
            )
        return ModelOnTheWay(BASE, base, None, base, None)

    def made(self, role: str, source: StageSource) -> Read:
        """Rows that a build_data stage makes."""
        return Read(role, str(self.run.stage(source.stage).rows.output(source.name)), source.stage)

    def add(
        self,
        name: str,
        *,
        stage: str,
        home: StepDir,
        config: StepConfig,
        reads: tuple[Read, ...],
        outputs: Sequence[Path],
        launched: bool = False,
        one_per_host: bool = False,
    ) -> None:
        """Put a step at the end; what it depends on is what it is told and what its inputs hold."""
        ingredients = find_ingredients(config, reads, made=self.steps, identities=self.identities)
        step = Step(
            name=name,
            kind=config.kind,
            stage=stage,
            config=config,
            folder=str(home.path),
            reads=reads,
            outputs=tuple(str(output) for output in outputs),
            launched=launched,
            one_per_host=one_per_host,
            ingredients=ingredients,
            fingerprint=fingerprint(ingredients),
        )
        self.steps.append(step)


def section(kind: type[SectionT], stage: Section) -> SectionT:
    """The part of a stage's flat keys that one section declares."""
    return kind.model_validate({key: getattr(stage, key) for key in kind.model_fields})


def outside(role: str, path: str | None) -> tuple[Read, ...]:
    """Something outside the run, where it is given."""
    return () if path is None else (Read(role, path),)
