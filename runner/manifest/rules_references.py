"""The rules of names that point at something: datasets of stages, stages of sources, models to start from.

Pure. A target that was written but could not be understood is doubtful, and nothing is told about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from onerec.config import StageSource
from runner.manifest.faults import Problem, did_you_mean, listed
from runner.manifest.positions import KeyPath
from runner.manifest.sources import source_parts
from runner.manifest.tables import (
    DATA_OUTPUTS,
    MODEL_KINDS,
    EvaluateStage,
    Manifest,
    Stage,
    TrainStage,
    start_of,
)

_NEEDS_MODEL = ("expand_vocab", "train", "test_model", "evaluate")


def check_references(manifest: Manifest, doubtful: frozenset[KeyPath]) -> Iterator[Problem]:
    """Every reference that leads nowhere, to a later stage, or to one of the wrong kind."""
    for index, name in enumerate(manifest.stages):
        before = tuple(manifest.stages)[:index]
        yield from _References(manifest, doubtful, name, before).problems()
    used = used_datasets(manifest)
    for name in manifest.datasets:
        if name not in used:
            yield from _References(manifest, doubtful, "", tuple(manifest.stages)).of_dataset(name)
    if not any(len(path) == 2 and path[0] == "stages" for path in doubtful):
        yield from _check_models(manifest)
        yield from _check_expanded(manifest)


def used_datasets(manifest: Manifest) -> set[str]:
    """Names of the datasets that some stage trains on or is evaluated on."""
    trains = (stage for stage in manifest.stages.values() if stage.kind == "train")
    return {name for stage in trains for name in stage.read_datasets}


@dataclass(frozen=True)
class _References:
    """What the stage `name` points at, seen from where it stands: after the stages `before`."""

    manifest: Manifest
    doubtful: frozenset[KeyPath]
    name: str
    before: tuple[str, ...]

    def problems(self) -> Iterator[Problem]:
        stage, path = self.manifest.stages[self.name], ("stages", self.name)
        start = start_of(stage)
        if start is not None:
            yield from self._of_start((*path, "starts_from"), start)
        if stage.kind == "train":
            yield from self._of_datasets(path, stage)
        if stage.kind == "evaluate":
            yield from self._of_evaluation(path, stage)
        for below, source in _stage_sources(stage):
            yield from self._of_source((*path, *below), source)

    def _of_datasets(self, path: KeyPath, stage: TrainStage) -> Iterator[Problem]:
        is_list = isinstance(stage.dataset, tuple)
        for index, name in enumerate(stage.datasets):
            yield from self._of_dataset_name((*path, "dataset", *((index,) if is_list else ())), name)
        if stage.validation is not None:
            yield from self._of_dataset_name((*path, "validation"), stage.validation)

    def _of_evaluation(self, path: KeyPath, stage: EvaluateStage) -> Iterator[Problem]:
        for title, target in (stage.models or {}).items():
            yield from self._of_start((*path, "models", title), target)
        if stage.data is not None:
            yield from self._of_maker((*path, "data"), stage.data)

    def of_dataset(self, dataset: str) -> Iterator[Problem]:
        for below, source in source_parts(self.manifest.datasets[dataset]):
            if isinstance(source, StageSource):
                yield from self._of_source(("datasets", dataset, *below), source)

    def _of_start(self, path: KeyPath, target: str) -> Iterator[Problem]:
        models = self._before_of_kind(*MODEL_KINDS)
        offer = f"stages before it that give a model: {listed(models)}"
        yield from self._of_stage(path, target, models, offer=offer, lack="gives no model")

    def _of_maker(self, path: KeyPath, target: str) -> Iterator[Problem]:
        builders = self._before_of_kind("build_data")
        offer = f"build_data stages before it: {listed(builders)}"
        yield from self._of_stage(path, target, builders, offer=offer, lack="makes no data")

    def _of_source(self, path: KeyPath, source: StageSource) -> Iterator[Problem]:
        yield from self._of_maker((*path, "stage"), source.stage)
        if source.name not in DATA_OUTPUTS:
            message = f"a build_data stage has no output {source.name!r}"
            yield Problem((*path, "name"), message, f"outputs: {listed(DATA_OUTPUTS)}")

    def _of_stage(
        self, path: KeyPath, target: str, fitting: list[str], *, offer: str, lack: str
    ) -> Iterator[Problem]:
        if ("stages", target) in self.doubtful or target in fitting:
            return
        stage = self.manifest.stages.get(target)
        if stage is None:
            yield Problem(path, f"there is no stage {target!r}", did_you_mean(target, fitting) or offer)
        elif target in self.before:
            yield Problem(path, f"stage {target!r} ({stage.kind}) {lack}", offer)
        elif target == self.name:
            yield Problem(path, f"{target!r} is this stage itself", offer)
        else:
            yield Problem(path, f"stage {target!r} does not come before stage {self.name!r}", offer)

    def _of_dataset_name(self, path: KeyPath, target: str) -> Iterator[Problem]:
        if ("datasets", target) in self.doubtful:
            return
        if target in self.manifest.datasets:
            yield from self.of_dataset(target)
            return
        remedy = did_you_mean(target, self.manifest.datasets) or _offered(self.manifest.datasets)
        yield Problem(path, f"there is no dataset {target!r}", remedy)

    def _before_of_kind(self, *kinds: str) -> list[str]:
        return [name for name in self.before if self.manifest.stages[name].kind in kinds]


def _offered(datasets: Iterable[str]) -> str:
    names = list(datasets)
    return f"datasets: {listed(names)}" if names else "describe it in [datasets.NAME]"


def _stage_sources(stage: Stage) -> Iterator[tuple[KeyPath, StageSource]]:
    if stage.kind == "init_model":
        for index, source in enumerate(stage.corpus):
            yield ("corpus", index), source
    if stage.kind == "train" and stage.hit_rate is not None:
        yield ("hit_rate",), stage.hit_rate
    if stage.kind == "test_model":
        for key, given in (("heldout", stage.heldout), ("popularity", stage.popularity)):
            if given is not None:
                yield (key,), given


def _check_models(manifest: Manifest) -> Iterator[Problem]:
    """Every stage that needs a model has one, and a base model that is named is used."""
    kinds = {name: stage.kind for name, stage in manifest.stages.items()}
    makers = [name for name, kind in kinds.items() if kind == "init_model"]
    first = next((name for name, kind in kinds.items() if kind in ("init_model", *_NEEDS_MODEL)), None)
    if first is None:
        return
    if manifest.model.base_model_dir is None and first not in makers:
        yield _no_model(first, makers)
    if manifest.model.base_model_dir is not None and first in makers:
        yield Problem(
            ("model", "base_model_dir"),
            f"no stage starts from it: stage {first!r} makes the model",
            f"remove it or stage {first!r}",
        )


def _no_model(stage: str, makers: list[str]) -> Problem:
    if makers:
        return Problem(("stages", stage), "no stage before it gives a model", f"move stage {makers[0]!r} up")
    remedy = 'write base_model_dir = "/path/to/Qwen3" there, or add a stage of kind "init_model"'
    return Problem(
        ("model", "base_model_dir"), f"stage {stage!r} has no model to start from", remedy, ("model",)
    )


def _check_expanded(manifest: Manifest) -> Iterator[Problem]:
    """A model from scratch has itemic rows to train only once it is expanded."""
    newest: str | None = None
    bare: set[str] = set()
    for name, stage in manifest.stages.items():
        start = start_of(stage) or newest
        if stage.kind == "train" and stage.freeze_llm and start in bare:
            yield Problem(
                ("stages", name, "freeze_llm"),
                f"there are no itemic rows to train: the model of stage {start!r} is not expanded",
                f'put a stage of kind "expand_vocab" after {start!r}',
            )
        if stage.kind == "init_model" or (stage.kind == "train" and start in bare):
            bare.add(name)
        newest = name if stage.kind in MODEL_KINDS else newest
