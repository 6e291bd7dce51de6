"""Which build_data stage gives the items that a stage's model speaks of, and what it holds out. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from onerec.config import StageSource
from runner.manifest.sources import source_parts
from runner.manifest.tables import MODEL_KINDS, BuildDataStage, Manifest, TrainStage, start_of


def holds_out(stage: BuildDataStage, split: Literal["validation", "test"]) -> bool:
    """Whether a build_data stage keeps events back for a split."""
    if stage.split == "time":
        return (stage.validation_share if split == "validation" else stage.test_share) > 0
    return split == "test" or stage.validation


def maker_of_items(manifest: Manifest, name: str) -> str | None:
    """The build_data stage whose items a training stage's model speaks of; None where there is none.

    That which its data comes from, or the data of a stage before it in its chain; else the newest before it.
    """
    known = makers_trained_on(manifest, name)
    if known:
        return known[-1]
    before = list(manifest.stages)[: list(manifest.stages).index(name)]
    built = [one for one in before if manifest.stages[one].kind == "build_data"]
    return built[-1] if built else None


def makers_trained_on(manifest: Manifest, name: str) -> tuple[str, ...]:
    """The build_data stages whose rows a model was trained on, first those of the stages it started from."""
    chain = [name]
    while (start := model_before(manifest, chain[-1])) is not None and start not in chain:
        chain.append(start)
    trains = [stage for one in reversed(chain) if isinstance(stage := manifest.stages[one], TrainStage)]
    return tuple(dict.fromkeys(maker for stage in trains for maker in _makers(manifest, stage)))


def model_before(manifest: Manifest, name: str) -> str | None:
    """The stage whose model a stage starts from; None for the base model, and where nothing is known."""
    named = start_of(manifest.stages[name])
    if named is not None:
        return named if named in manifest.stages else None
    before = list(manifest.stages)[: list(manifest.stages).index(name)]
    models = [one for one in before if manifest.stages[one].kind in MODEL_KINDS]
    return models[-1] if models and manifest.stages[name].kind != "init_model" else None


def _makers(manifest: Manifest, stage: TrainStage) -> Iterator[str]:
    for name in stage.datasets:
        dataset = manifest.datasets.get(name)
        for _, source in source_parts(dataset) if dataset else ():
            if isinstance(source, StageSource):
                yield source.stage
    if stage.hit_rate is not None:
        yield stage.hit_rate.stage
