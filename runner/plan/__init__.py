"""A manifest as ordered steps: what each is told, reads and writes, and what its outcome depends on.

Pure: no disk is touched, and the same manifest in the same place always gives the same plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.plan.draft import Draft
from runner.plan.examination import add_evaluation, add_model_test
from runner.plan.material import add_build_data
from runner.plan.models import add_expansion, add_new_model
from runner.plan.training import add_training
from runner.steps import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.manifest.tables import Manifest, Stage
    from runner.rundir import RunDir

__all__ = ["plan"]


def plan(manifest: Manifest, *, run: RunDir, identities: Mapping[str, str]) -> Plan:
    """The steps of a manifest whose input paths are absolute.

    `identities` maps each place outside the run to a digest of what stands there. Raises ConfigError for a
    dataset that two stages would need in two forms.
    """
    draft = Draft(manifest, run=run, identities=identities)
    for name, stage in manifest.stages.items():
        _add_stage(draft, name, stage)
    return Plan(run=run, steps=tuple(draft.steps))


def _add_stage(draft: Draft, name: str, stage: Stage) -> None:
    if stage.kind == "build_data":
        add_build_data(draft, name, stage)
    elif stage.kind == "init_model":
        add_new_model(draft, name, stage)
    elif stage.kind == "expand_vocab":
        add_expansion(draft, name, stage)
    elif stage.kind == "train":
        add_training(draft, name, stage)
    elif stage.kind == "evaluate":
        add_evaluation(draft, name, stage)
    else:
        add_model_test(draft, name, stage)
