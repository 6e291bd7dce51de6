"""What there is of a dataset now: its rows, its tokenizer, and its prepared store if that still fits.

Reads the run directory as the runner itself does, and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onerec.config import DataOrder, PrepareConfig, PreparedDataset, TrainConfig
from onerec.errors import ConfigError
from runner.decide import decide
from runner.execute import find_facts
from runner.history import fold
from runner.identity import identify
from runner.journal import read
from runner.manifest.faults import did_you_mean, listed
from runner.plan import plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.decide import Decision
    from runner.manifest.tables import Manifest, TrainStage
    from runner.rundir import RunDir
    from runner.steps import Read, Step


@dataclass(frozen=True)
class DatasetInputs:
    """One dataset as it stands, and what is in the way of reading it."""

    config: PrepareConfig
    """How it is prepared; its tokenizer folder may not be there yet."""
    seed: int
    tokenizer_dir: str | None
    """A folder with its tokenizer, expanded or not; None while no stage has made it."""
    tokenizer_fault: str
    """Which stage has to make it first; empty where there is one."""
    rows_fault: str
    """Which stage has to make its rows first; empty where they are there."""
    training: tuple[Step, ...]
    """The training steps that read it, in their order."""
    order: DataOrder | None
    """How the first of them reads it, when all that it reads is prepared and still fits."""


def find_inputs(manifest: Manifest, name: str, *, run: RunDir, with_order: bool = True) -> DatasetInputs:
    """What there is of a dataset; raises ConfigError when there is none of that name, or no stage reads it.

    Without `with_order` the files of the dataset, which may be many, are not looked at.
    """
    stages = _stages_reading(manifest, name)
    read_first = _train_stage(manifest, stages[0]).read_datasets
    decisions = _decisions(manifest, run=run, datasets=read_first if with_order else ())
    prepared = decisions[f"prepare:{name}"].step
    training = decisions[stages[0]].step.config
    assert isinstance(prepared.config, PrepareConfig)
    assert isinstance(training, TrainConfig)
    tokenizer, *sources = prepared.reads
    folder, missing = _tokenizer(tokenizer, decisions)
    fits = with_order and all(decisions[f"prepare:{one}"].action == "skip" for one in read_first)
    return DatasetInputs(
        config=prepared.config,
        seed=training.seed,
        tokenizer_dir=folder,
        tokenizer_fault=_made_by(missing, "tokenizer is") if missing else "",
        rows_fault=_rows_fault(sources, decisions),
        training=tuple(decisions[stage].step for stage in stages),
        order=training.data if fits else None,
    )


def read_from(order: DataOrder, name: str) -> PreparedDataset:
    """The dataset of that name among those that a stage trains on and is evaluated on."""
    known = (*order.datasets, *([order.validation] if order.validation else []))
    return next(dataset for dataset in known if dataset.name == name)


def _stages_reading(manifest: Manifest, name: str) -> tuple[str, ...]:
    if name not in manifest.datasets:
        remedy = did_you_mean(name, manifest.datasets) or f"the datasets are {listed(manifest.datasets)}"
        raise ConfigError(f"there is no dataset {name!r}; {remedy}")
    trains = {key: stage for key, stage in manifest.stages.items() if stage.kind == "train"}
    found = tuple(key for key, stage in trains.items() if name in stage.read_datasets)
    if not found:
        raise ConfigError(f'no training stage reads dataset {name!r}; write dataset = "{name}" in one')
    return found


def _train_stage(manifest: Manifest, name: str) -> TrainStage:
    stage = manifest.stages[name]
    assert stage.kind == "train"
    return stage


def _decisions(manifest: Manifest, *, run: RunDir, datasets: tuple[str, ...]) -> Mapping[str, Decision]:
    """How each step stands, by name; what other datasets are made of is not looked at, which may be long."""
    wanted = {f"prepare:{name}" for name in datasets}
    steps = plan(manifest, run=run, identities={}).steps
    places = {
        read.path
        for step in steps
        if step.kind != "prepare" or step.name in wanted
        for read in step.reads
        if read.step is None
    }
    identities = {place: identify(place).digest for place in places}
    planned = plan(manifest, run=run, identities=identities)
    history = fold(read(run.events))
    return {one.step.name: one for one in decide(planned, history, find_facts(planned, history))}


def _tokenizer(source: Read, decisions: Mapping[str, Decision]) -> tuple[str | None, Decision | None]:
    """A folder with the tokenizer, and the step that has to make it first where there is none.

    A stage that expands the vocabulary need not have run: what it expands is enough to know the outcome.
    """
    while source.step is not None:
        made = decisions[source.step]
        if made.action == "skip":
            break
        if made.step.kind != "expand_vocab":
            return None, made
        source = made.step.reads[0]
    return source.path, None


def _rows_fault(sources: list[Read], decisions: Mapping[str, Decision]) -> str:
    """Which rows are not there yet; empty when all are."""
    for source in sources:
        if source.step is not None and decisions[source.step].action != "skip":
            return _made_by(decisions[source.step], "rows are")
    return ""


def _made_by(decision: Decision, what: str) -> str:
    step = decision.step
    return f"its {what} made by stage {step.stage!r} ({step.kind}): {decision.reason}"
