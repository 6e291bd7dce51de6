"""What to tell a person who wrote a key that its table does not have.

Most such keys are misspelt or belong in another table; some are keys of OpenOneRec that have no meaning here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pydantic import BaseModel

from onerec.config import Columns, Dataset, FieldClass, Mixture, Policy, StageSource, Training, class_of
from runner.manifest.faults import did_you_mean, listed
from runner.manifest.positions import KeyPath
from runner.manifest.tables import (
    BuildDataStage,
    Cluster,
    EvaluateStage,
    ExpandVocabStage,
    InitModelStage,
    ItemVocab,
    Manifest,
    Model,
    Notify,
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
    "evaluate": EvaluateStage,
}
"""Table of each kind of stage."""

OWNERS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("[model]", Model),
    ("[vocab]", ItemVocab),
    ("[cluster]", Cluster),
    ("[cluster.slurm]", Slurm),
    ("[notify]", Notify),
    ("[datasets.NAME]", Dataset),
    ("[training] or a stage of kind 'train'", Training),
    ("a stage of kind 'train'", TrainStage),
    ("mixture of a stage of kind 'train'", Mixture),
    ("a stage of kind 'build_data'", BuildDataStage),
    ("columns of a stage of kind 'build_data'", Columns),
    ("policy of a stage of kind 'build_data'", Policy),
    ("a stage of kind 'init_model'", InitModelStage),
    ("a stage of kind 'test_model'", TestModelStage),
    ("a stage of kind 'evaluate'", EvaluateStage),
    ("the top of the manifest, before the first [table]", Manifest),
)

_TABLES: dict[str, type[BaseModel]] = {
    "": Manifest,
    "model": Model,
    "vocab": ItemVocab,
    "cluster": Cluster,
    "notify": Notify,
    "training": Training,
}

_SUBTABLES: dict[str, type[BaseModel]] = {"mixture": Mixture, "columns": Columns, "policy": Policy}
"""Tables within a stage, by their key."""
_SOURCES = frozenset({"heldout", "popularity", "hit_rate"})
"""Keys of stages that take one output of another stage."""

_FOLDER = "a stage writes into output_dir/name/STAGE; set output_dir and name at the top of the manifest"
_NO_CUT = "samples are never cut to fill a pack; remove it: 'overlong' says what becomes of long ones"
_STARTS = "a stage starts from the one before it; name another with starts_from, or set model.base_model_dir"

_PACKS = "write packs_per_step: packs of one optimizer step over all ranks"
_BF16 = "remove it: compute is bf16 with fp32 weights; use_fp32_weight = false has bf16 weights"
_OF_OTHERS = {
    "gradient_accumulation_steps": _PACKS,
    "batch_size": _PACKS,
    "per_device_train_batch_size": _PACKS,
    "bf16": _BF16,
    "fp16": _BF16,
    "warmup_ratio": "write num_warmup_steps: a number of steps",
    "deepspeed": "remove it: weights, gradients and optimizer are sharded over all ranks (sharding)",
    "fsdp": "remove it: weights, gradients and optimizer are sharded over all ranks (sharding)",
}
"""Keys of other trainers, which say nothing here in the same way."""

REFUSED: dict[str, dict[str, str]] = {
    "train": {
        "model_dir": _STARTS,
        "output_dir": _FOLDER,
        "dataset_config": 'describe the data in [datasets.NAME] and write dataset = "NAME"',
        "datasets": 'write dataset = "NAME", or dataset = ["NAME", "NAME"]',
        **_OF_OTHERS,
    },
    "training": {
        **_OF_OTHERS,
        "kind": "every stage says its own kind; write it in [stages.NAME]",
        "dataset": "every training stage says its own dataset; write it in [stages.NAME]",
        "starts_from": "write it in the one [stages.NAME] that it is meant for",
        "mixture": "write it in the one [stages.NAME] that it is meant for",
        "validation": "write it in each [stages.NAME] that is to be evaluated",
        "hit_rate": "write it in each [stages.NAME] that is to be asked",
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


_SYNONYMS = {
    "lr": "learning_rate",
    "warmup_steps": "num_warmup_steps",
    "epochs": "num_epochs",
    "num_train_epochs": "num_epochs",
    "gradient_checkpointing": "enable_gradient_checkpointing",
    "grad_clip": "max_grad_norm",
    "clip_grad": "max_grad_norm",
    "clip_range": "max_grad_norm",
    "save_steps": "save_checkpoint_per_step",
    "logging_steps": "logging_per_step",
    "eval_steps": "validation_per_step",
    "save_total_limit": "keep_checkpoints",
    "adam_beta1": "beta1",
    "adam_beta2": "beta2",
    "max_seq_length": "max_length",
    "max_seq_len": "max_length",
    "seq_length": "max_length",
    "data_path": "sources",
    "data_files": "sources",
    "model_path": "base_model_dir",
    "model_name_or_path": "base_model_dir",
    "pretrained_model_name_or_path": "base_model_dir",
    "nproc": "nproc_per_node",
    "gpus": "nproc_per_node",
    "num_gpus": "nproc_per_node",
    "num_nodes": "nnodes",
    "nodes": "nnodes",
    "run_name": "name",
    "report_to": "trackers",
}
"""What other trainers call a key of ours."""


def remedy_of_unknown(path: KeyPath, document: Mapping[str, object]) -> str:
    """What to do about the unknown key at the end of `path`: another spelling, place or way."""
    key = str(path[-1])
    table, section = table_at(path[:-1], document)
    refused = REFUSED.get(table, {}).get(key)
    if refused:
        return refused
    known = tuple(section.model_fields) if section else ()
    meant = _SYNONYMS.get(spelt := _spelt(key), spelt)
    if meant != key and meant in known:
        return f"write {meant}"
    if isinstance(value_at(document, path), dict) and (near := did_you_mean(spelt, known)):
        return near
    owners = [owner for owner, model in OWNERS if meant in model.model_fields and model is not section]
    if owners:
        return f"it belongs in {owners[0]}" if meant == key else f"write {meant}, in {owners[0]}"
    return (
        did_you_mean(spelt, known)
        or _elsewhere(spelt)
        or (f"known here: {listed(known)}" if len(known) < 20 else "remove it")
    )


def value_at(document: object, path: KeyPath) -> object:
    """The value that a document has at a path; None where it has none."""
    for part in path:
        if not isinstance(document, Mapping) or part not in document:
            return None
        document = document[part]
    return document


def _spelt(key: str) -> str:
    """A key as manifests spell it: `--learning-rate` is learning_rate."""
    return key.lstrip("-").replace("-", "_").lower()


def _elsewhere(key: str) -> str:
    """The nearest key of another table, for one that is misspelt and in the wrong place."""
    near = difflib.get_close_matches(
        key, [name for _, model in OWNERS for name in model.model_fields], n=1, cutoff=0.8
    )
    owner = next((owner for owner, model in OWNERS if near and near[0] in model.model_fields), "")
    return f"did you mean {near[0]!r}, in {owner}?" if near else ""


def table_at(path: KeyPath, document: Mapping[str, object]) -> tuple[str, type[BaseModel] | None]:
    """Kind and section of the table at `path`: ("train", TrainStage) at ("stages", "sft")."""
    if len(path) < 2:
        name = str(path[0]) if path else ""
        return name, _TABLES.get(name)
    if path[-1] in _SOURCES or "sources" in path or "corpus" in path:
        return "source", StageSource
    if len(path) == 3 and path[0] == "stages" and path[-1] in _SUBTABLES:
        return str(path[-1]), _SUBTABLES[str(path[-1])]
    if path == ("cluster", "slurm"):
        return "slurm", Slurm
    if path[0] == "datasets":
        return "dataset", Dataset
    kind = kind_of_stage(document, path[1]) if path[0] == "stages" else ""
    return kind, STAGES.get(kind)


def class_of_key(path: KeyPath, document: Mapping[str, object]) -> FieldClass:
    """What changing the key at `path` may change; a key that no table knows may change results."""
    for length in range(len(path), 0, -1):
        _, section = table_at(path[: length - 1], document)
        key = path[length - 1]
        if section is not None and isinstance(key, str) and key in section.model_fields:
            return class_of(section, key)
    return "result"


def kind_of_stage(document: Mapping[str, object], name: object) -> str:
    """The kind that a stage of the document names; empty when it names none."""
    stages = document.get("stages")
    stage = stages.get(name) if isinstance(stages, Mapping) else None
    kind = stage.get("kind") if isinstance(stage, Mapping) else None
    return kind if isinstance(kind, str) else ""
