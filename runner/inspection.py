"""What `runner check` finds in the data itself: every footer and some rows of each dataset that is read.

The trainer's own program looks, one dataset after the other; what it found becomes findings here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onerec.config import InspectDataConfig, TrainConfig
from onerec.errors import ConfigError
from runner.compose import run_of
from runner.dataset_inputs import DatasetInputs, find_inputs
from runner.inspection_text import findings_of, message_of
from runner.launch.environment import program_env
from runner.launch.ranks import world_size
from runner.manifest.faults import dotted
from runner.manifest.rules_references import used_datasets
from runner.observe import read_document
from runner.on_demand import run_program
from runner.preflight.findings import Figures, Finding, error, info
from runner.rundir import StepDir
from runner.toolchain import find_toolchain, read_hosts

if TYPE_CHECKING:
    from runner.manifest import LoadedManifest, Manifest
    from runner.manifest.tables import Cluster

Document = Mapping[str, Any]


def inspect(
    loaded: LoadedManifest, found: Sequence[Finding], *, env: Mapping[str, str]
) -> tuple[Finding, ...]:
    """Findings about the data of each dataset that a stage reads, after those that were `found` without it.

    A dataset whose sources are known not to be right is left alone; so are all where packages are missing.
    """
    if any(finding.level == "error" and not finding.place for finding in found):
        return (info("datasets", "not read: packages are missing"),)
    if any(finding.level == "error" and finding.place == "cluster.env_file" for finding in found):
        return (info("datasets", "not read: correct cluster.env_file first"),)
    seen = program_env(env, loaded.manifest.cluster)
    findings: list[Finding] = []
    for name in loaded.manifest.datasets:
        if name in used_datasets(loaded.manifest):
            findings += _inspect(loaded.manifest, name, found, env=seen)
    return tuple(findings)


def _inspect(
    manifest: Manifest, name: str, found: Sequence[Finding], *, env: Mapping[str, str]
) -> Iterator[Finding]:
    place = dotted(("datasets", name))
    if any(one.level == "error" and one.place.startswith(f"{place}.sources") for one in found):
        yield info(place, "its rows were not read: correct its sources first")
        return
    try:
        inputs = find_inputs(manifest, name, run=run_of(manifest), with_order=False)
    except ConfigError as problem:
        message, _, remedy = str(problem).rpartition("; ")
        yield error(place, message, remedy)
        return
    if inputs.rows_fault:
        yield info(place, f"not read: {inputs.rows_fault}")
        return
    code, document = _run(inputs, env)
    if code or not document:
        yield error(place, f"its data could not be read (exit code {code})", "see what it said above")
        return
    yield from findings_of(place, document, limit=inputs.config.dataset.max_reject_fraction)
    steps = _steps(inputs, document, cluster=manifest.cluster, env=env)
    fault = document["tokenizer_fault"] or inputs.tokenizer_fault
    figures = {**document, "tokenizer_fault": fault, "steps_per_epoch": steps}
    yield Figures("info", place, message_of(figures), "", figures)


def _run(inputs: DatasetInputs, env: Mapping[str, str]) -> tuple[int, Document]:
    with tempfile.TemporaryDirectory(prefix="runner-check-") as folder:
        home = StepDir(Path(folder))
        config = InspectDataConfig(
            output_dir=folder,
            tokenizer_dir=inputs.tokenizer_dir,
            sources=inputs.config.sources,
            dataset=inputs.config.dataset,
            vocab=inputs.config.vocab,
        )
        code = run_program(config, home, env=env, shows_output=False)
        return code, read_document(home.inspection)


def _steps(
    inputs: DatasetInputs, document: Document, *, cluster: Cluster, env: Mapping[str, str]
) -> dict[str, int]:
    """Steps that one reading of this dataset makes, by training stage; none where its size is not known."""
    packs = document.get("packs_per_epoch")
    if not isinstance(packs, int):
        return {}
    try:
        tools = find_toolchain(cluster, hosts=read_hosts(cluster), env=env)
    except ConfigError:  # of the hostfile, told by those who look at it
        return {}
    steps = {}
    for step in inputs.training:
        assert isinstance(step.config, TrainConfig)
        packs_per_step = step.config.duration.packs_per_step or world_size(step, cluster=cluster, tools=tools)
        if packs_per_step is not None:
            steps[step.stage] = -(-packs // packs_per_step)
    return steps
