"""Samples of a dataset as its first training stage reads them, whatever of the run is there already."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from onerec.config import PreviewConfig
from onerec.errors import ConfigError
from runner.compose import run_of
from runner.dataset_inputs import DatasetInputs, find_inputs, read_from
from runner.launch.environment import program_env
from runner.observe import read_document
from runner.on_demand import run_program
from runner.rundir import StepDir

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.manifest import LoadedManifest


def preview(
    loaded: LoadedManifest, *, dataset: str, samples: int, env: Mapping[str, str]
) -> tuple[int, dict[str, object]]:
    """The exit code, and the preview of a dataset; it is empty when the code is not 0.

    Raises ConfigError for an unknown dataset, and for one whose rows or tokenizer no stage has made yet.
    """
    inputs = find_inputs(loaded.manifest, dataset, run=run_of(loaded.manifest))
    missing = inputs.tokenizer_fault or inputs.rows_fault
    if missing:
        raise ConfigError(
            f"datasets.{dataset} cannot be shown yet: {missing}; start the run with: runner {loaded.path}"
        )
    with tempfile.TemporaryDirectory(prefix="runner-preview-") as folder:
        home = StepDir(Path(folder))
        config = _config(inputs, dataset=dataset, samples=samples, output_dir=folder)
        seen = program_env(env, loaded.manifest.cluster)
        code = run_program(config, home, env=seen, shows_output=False)
        return code, {"dataset": dataset, "stage": inputs.training[0].stage, **read_document(home.preview)}


def _config(inputs: DatasetInputs, *, dataset: str, samples: int, output_dir: str) -> PreviewConfig:
    prepare, order = inputs.config, inputs.order
    assert inputs.tokenizer_dir is not None, "otherwise there is a fault, which was told"
    return PreviewConfig(
        output_dir=output_dir,
        store_dir=None if order is None else read_from(order, dataset).store_dir,
        order=order,
        tokenizer_dir=inputs.tokenizer_dir,
        sources=prepare.sources,
        dataset=prepare.dataset,
        vocab=prepare.vocab,
        seed=inputs.seed,
        samples=samples,
    )
