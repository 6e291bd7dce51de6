"""The relative paths of a manifest, made absolute: inputs lie beside the manifest, wherever it is run from.

Pure: no path is looked at. `output_dir` stays as it is, for outputs belong to the folder a person works in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onerec.config import Dataset, StageSource
from runner.manifest.rules_paths import PATHS_OF_STAGES
from runner.manifest.sources import url_scheme
from runner.manifest.tables import Manifest, Notify, Stage


def with_absolute_inputs(manifest: Manifest, folder: Path) -> Manifest:
    """The manifest with every input path absolute, relative ones taken from `folder`; URLs stay."""
    model = manifest.model.model_copy(update=_absolute(manifest.model, ("base_model_dir",), folder))
    vocab = manifest.vocab.model_copy(update=_absolute(manifest.vocab, ("item_map",), folder))
    inputs = _absolute(manifest.cluster, ("hostfile", "ssh_config", "env_file"), folder)
    cluster = manifest.cluster.model_copy(update=inputs)
    datasets = {name: _dataset(dataset, folder) for name, dataset in manifest.datasets.items()}
    stages = {name: _stage(stage, folder) for name, stage in manifest.stages.items()}
    notify = _notify(manifest.notify, folder)
    changed = {
        "model": model,
        "vocab": vocab,
        "cluster": cluster,
        "notify": notify,
        "datasets": datasets,
        "stages": stages,
    }
    return manifest.model_copy(update=changed)


def _notify(notify: Notify, folder: Path) -> Notify:
    """A program with a slash lies beside the manifest; one without is looked for on the PATH."""
    program = notify.command[0] if notify.command else ""
    if "/" not in program:
        return notify
    return notify.model_copy(update={"command": (str(folder / program), *notify.command[1:])})


def _stage(stage: Stage, folder: Path) -> Stage:
    return stage.model_copy(update=_absolute(stage, tuple(PATHS_OF_STAGES), folder))


def _absolute(section: Any, keys: tuple[str, ...], folder: Path) -> dict[str, str]:
    given = {key: getattr(section, key, None) for key in keys}
    return {key: str(folder / value) for key, value in given.items() if value is not None}


def _dataset(dataset: Dataset, folder: Path) -> Dataset:
    sources = dataset.sources
    changed = (
        tuple(_source(source, folder) for source in sources)
        if isinstance(sources, tuple)
        else _source(sources, folder)
    )
    return dataset.model_copy(update={"sources": changed})


def _source(source: str | StageSource, folder: Path) -> str | StageSource:
    if isinstance(source, StageSource) or url_scheme(source):
        return source
    return str(folder / source)
