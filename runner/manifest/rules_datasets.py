"""The rules of what a training stage reads: datasets that fit together, their mixture, its validation.

Pure. Names that lead to no dataset are told by `rules_references`; names of sources are known once the data
is prepared, and checked there.
"""

from __future__ import annotations

from collections.abc import Iterator

from onerec.config import Dataset
from runner.manifest.faults import Problem, did_you_mean, listed
from runner.manifest.positions import KeyPath
from runner.manifest.tables import Manifest, TrainStage

SHARED_KEYS = (
    "max_length",
    "num_epochs",
    "num_workers",
    "local_shuffle_buffer_size",
    "shuffle_memory_gigabytes",
    "shuffle_seed",
)
"""Keys of a dataset that order and pack it: datasets that are trained on together have them in common."""


def check_stage_data(path: KeyPath, stage: TrainStage, manifest: Manifest) -> Iterator[Problem]:
    """Every broken rule about the datasets of one training stage."""
    yield from _check_each_once(path, stage)
    yield from _check_shared_keys(path, stage, manifest.datasets)
    yield from _check_validation(path, stage, manifest.datasets)
    yield from _check_fraction(stage, manifest)
    yield from _check_mixture(path, stage)


def _check_each_once(path: KeyPath, stage: TrainStage) -> Iterator[Problem]:
    for index, name in enumerate(stage.datasets):
        if name in stage.datasets[:index]:
            remedy = f'name it once; mixture = {{ by = "dataset", epochs = {{ {name} = 2 }} }} reads it twice'
            yield Problem((*path, "dataset", index), f"{name!r} is named twice", remedy)


def _check_shared_keys(path: KeyPath, stage: TrainStage, datasets: dict[str, Dataset]) -> Iterator[Problem]:
    known = [name for name in stage.datasets if name in datasets]
    for name in known[1:]:
        for key in SHARED_KEYS:
            first, other = getattr(datasets[known[0]], key), getattr(datasets[name], key)
            if first != other:
                remedy = "make them equal"
                if key == "num_epochs":
                    remedy += "; the stage's mixture says how often each is read in an epoch"
                yield Problem(
                    (*path, "dataset"),
                    f"{known[0]!r} has {key} = {first}, {name!r} has {other}; they are packed together",
                    remedy,
                )


def _check_validation(path: KeyPath, stage: TrainStage, datasets: dict[str, Dataset]) -> Iterator[Problem]:
    if stage.validation is None:
        return
    if stage.validation in stage.datasets:
        yield Problem(
            (*path, "validation"),
            f"{stage.validation!r} is trained on",
            f"set datasets.{stage.validation}.validation_fraction, or name another dataset",
        )
    validation, first = datasets.get(stage.validation), datasets.get(stage.datasets[0])
    if validation and first and (validation.max_sample_length or validation.max_length) > first.max_length:
        yield Problem(
            (*path, "validation"),
            f"samples of {stage.validation!r} may be longer than max_length {first.max_length} of "
            f"{stage.datasets[0]!r}, in whose packs they are evaluated",
            f"set datasets.{stage.validation}.max_sample_length to at most that",
        )


def _check_fraction(stage: TrainStage, manifest: Manifest) -> Iterator[Problem]:
    """A share of a dataset that is evaluated as a whole; told once, by the first stage that names it."""
    trains = [one for one in manifest.stages.values() if one.kind == "train"]
    name = stage.validation
    dataset = manifest.datasets.get(name) if name is not None else None
    if name is None or dataset is None or not dataset.validation_fraction:
        return
    is_first = next(one for one in trains if one.validation == name) is stage
    if is_first and not any(name in one.datasets for one in trains):
        yield Problem(
            ("datasets", name, "validation_fraction"),
            f"no stage trains on {name!r}: as a stage's validation, all of it is evaluated",
            "remove validation_fraction",
        )


def _check_mixture(path: KeyPath, stage: TrainStage) -> Iterator[Problem]:
    mixture = stage.mixture
    if mixture is None or mixture.by != "dataset":
        return
    key = "weights" if mixture.weights is not None else "epochs"
    given = mixture.weights if mixture.weights is not None else mixture.epochs or {}
    for name in given:
        if name not in stage.datasets:
            remedy = did_you_mean(name, stage.datasets) or f"datasets of the stage: {listed(stage.datasets)}"
            yield Problem((*path, "mixture", key, name), f"the stage trains on no dataset {name!r}", remedy)
    missing = [name for name in stage.datasets if name not in given]
    if mixture.weights is not None and missing:
        yield Problem(
            (*path, "mixture", "weights"),
            f"no weight for {listed(missing)}",
            "give each dataset of the stage a weight; 0 leaves one out",
        )
