"""What to tell a person who wrote a key that its table does not have.

Most such keys are misspelt or belong in another table; some are keys of OpenOneRec that have no meaning here.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from onerec.config import Dataset, Mixture, StageSource, Training, Vocab
from runner.manifest.faults import did_you_mean, listed
from runner.manifest.positions import KeyPath
from runner.manifest.tables import (
    BuildDataStage,
    Cluster,
    ExpandVocabStage,
    InitModelStage,
    Manifest,
    Model,
    Slurm,
    TestModelStage,
    TrainStage,
)

STAGES: dict[str, type[BaseModel]] = {
    "build_data": BuildDataStage,
    "init_model": InitModelStage,
    "expand_vocab": ExpandVocabStage,
    "train": TrainStage,
    "test_model": TestModelStage,
}
"""Table of each kind of stage."""

_OWNERS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("[model]", Model),
    ("[vocab]", Vocab),
    ("[cluster]", Cluster),
    ("[cluster.slurm]", Slurm),
    ("[datasets.NAME]", Dataset),
    ("[training] or a stage of kind 'train'", Training),
    ("a stage of kind 'train'", TrainStage),
    ("a stage of kind 'build_data'", BuildDataStage),
    ("a stage of kind 'init_model'", InitModelStage),
    ("a stage of kind 'test_model'", TestModelStage),
    ("the top of the manifest, before the first [table]", Manifest),
)

_TABLES: dict[str, type[BaseModel]] = {
    "": Manifest,
    "model": Model,
    "vocab": Vocab,
    "cluster": Cluster,
    "training": Training,
}

_FOLDER = "a stage writes into output_dir/name/STAGE; set output_dir and name at the top of the manifest"
_NO_CUT = "samples are never cut to fill a pack; remove it: 'overlong' says what becomes of long ones"
_STARTS = "a stage starts from the one before it; name another with starts_from, or set model.base_model_dir"

REFUSED: dict[str, dict[str, str]] = {
    "train": {
        "model_dir": _STARTS,
        "output_dir": _FOLDER,
        "dataset_config": 'describe the data in [datasets.NAME] and write dataset = "NAME"',
        "gradient_accumulation_steps": "write packs_per_step: packs of one optimizer step over all ranks",
        "batch_size": "write packs_per_step: packs of one optimizer step over all ranks",
    },
    "training": {
        "kind": "every stage says its own kind; write it in [stages.NAME]",
        "dataset": "every training stage says its own dataset; write it in [stages.NAME]",
        "starts_from": "write it in the one [stages.NAME] that it is meant for",
        "mixture": "write it in the one [stages.NAME] that it is meant for",
        "validation": "write it in each [stages.NAME] that is to be evaluated",
        "model_dir": _STARTS,
        "output_dir": _FOLDER,
        "dataset_config": "describe the data in [datasets.NAME] and name it in each stage",
    },
    "dataset": {
        "base_model_dir": "tokens are those of the stage that trains; write model.base_model_dir once",
        "model_class": "it says nothing about data; write model.model_class once",
        "cut_to_pad": _NO_CUT,
        "full_attention": "a sample attends to itself only, and causally; remove it",
        "local_shuffle_random_fetch": "the order is one seeded shuffle of all samples; remove it",
        "seed": "write shuffle_seed",
    },
}
"""Keys that users of OpenOneRec know and that cannot be honoured, by table, each with what to do instead."""


def remedy_of_unknown(path: KeyPath, document: Mapping[str, object]) -> str:
    """What to do about the unknown key at the end of `path`: another spelling, place or way."""
    key = str(path[-1])
    table, section = table_at(path[:-1], document)
    refused = REFUSED.get(table, {}).get(key)
    if refused:
        return refused
    known = tuple(section.model_fields) if section else ()
    owners = [owner for owner, model in _OWNERS if key in model.model_fields and model is not section]
    if owners:
        return f"it belongs in {owners[0]}"
    return did_you_mean(key, known) or (f"known here: {listed(known)}" if len(known) < 20 else "remove it")


def table_at(path: KeyPath, document: Mapping[str, object]) -> tuple[str, type[BaseModel] | None]:
    """Kind and section of the table at `path`: ("train", TrainStage) at ("stages", "sft")."""
    if len(path) < 2:
        name = str(path[0]) if path else ""
        return name, _TABLES.get(name)
    if path[-1] in ("heldout", "popularity") or "sources" in path or "corpus" in path:
        return "source", StageSource
    if path[-1] == "mixture":
        return "mixture", Mixture
    if path == ("cluster", "slurm"):
        return "slurm", Slurm
    if path[0] == "datasets":
        return "dataset", Dataset
    kind = kind_of_stage(document, path[1]) if path[0] == "stages" else ""
    return kind, STAGES.get(kind)


def kind_of_stage(document: Mapping[str, object], name: object) -> str:
    """The kind that a stage of the document names; empty when it names none."""
    stages = document.get("stages")
    stage = stages.get(name) if isinstance(stages, Mapping) else None
    kind = stage.get("kind") if isinstance(stage, Mapping) else None
    return kind if isinstance(kind, str) else ""
