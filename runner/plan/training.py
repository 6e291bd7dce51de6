"""The steps of a training stage: its datasets prepared, itself, and its model as a Hugging Face folder."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from onerec.config import (
    Checkpointing,
    Compute,
    ConvertConfig,
    DataOrder,
    Duration,
    ModelSource,
    Monitoring,
    Optim,
    PreparedDataset,
    Trainable,
    TrainConfig,
    Validating,
)
from runner.plan.draft import ModelOnTheWay, outside, section
from runner.plan.material import add_preparation, item_map
from runner.steps import Read

if TYPE_CHECKING:
    from runner.manifest.tables import TrainStage
    from runner.plan.draft import Draft
    from runner.rundir import StepDir


def add_training(draft: Draft, name: str, stage: TrainStage) -> None:
    """Everything that a training stage needs and gives."""
    home, model = draft.run.stage(name), draft.model_before(stage.starts_from)
    for dataset in stage.read_datasets:
        add_preparation(draft, dataset, draft.manifest.datasets[dataset], stage=name, model=model)
    add_think_pattern = draft.manifest.datasets[stage.datasets[0]].add_think_pattern
    hit_rate = _hit_rate(draft, name, stage)
    reads = (
        Read("model.model_dir", model.model_dir, model.step),
        *(_store(draft, dataset) for dataset in stage.read_datasets),
        *outside("checkpoint.resume_from", stage.resume_from),
        *hit_rate,
    )
    asked = {"add_think_pattern": add_think_pattern, **{read.role: read.path for read in hit_rate}}
    config = _config(draft, name, stage, model=model).model_copy(update=asked if hit_rate else {})
    draft.add(name, stage=name, home=home, config=config, reads=reads, outputs=[home.latest], launched=True)
    _add_conversion(
        draft, name, home=home, model=model, best=stage.export == "best", add_think_pattern=add_think_pattern
    )
    draft.models[name] = ModelOnTheWay(
        name=name,
        model_dir=str(home.converted),
        step=f"{name}:convert",
        tokenizer_dir=model.tokenizer_dir,
        tokenizer_step=model.tokenizer_step,
        add_think_pattern=add_think_pattern,
    )


def _config(draft: Draft, name: str, stage: TrainStage, *, model: ModelOnTheWay) -> TrainConfig:
    home, manifest = draft.run.stage(name), draft.manifest
    seed = manifest.seed if stage.seed is None else stage.seed
    return TrainConfig(
        stage=name,
        output_dir=str(home.path),
        tensorboard_dir=str(home.tensorboard),
        stop_file=str(draft.run.stop_file),
        seed=seed,
        model=ModelSource(
            model_dir=model.model_dir,
            model_class=manifest.model.model_class,
            use_tie_weights=manifest.model.use_tie_weights,
        ),
        vocab=draft.vocab,
        data=_order(draft, stage, seed=seed),
        optim=section(Optim, stage),
        trainable=section(Trainable, stage),
        compute=section(Compute, stage),
        checkpoint=section(Checkpointing, stage),
        monitor=section(Monitoring, stage),
        validating=section(Validating, stage),
        duration=section(Duration, stage),
    )


def _hit_rate(draft: Draft, name: str, stage: TrainStage) -> tuple[Read, ...]:
    """The questions of the hit rate and the items that may be answers; the roles are keys of TrainConfig."""
    if stage.hit_rate is None:
        return ()
    return (draft.made("hit_rate_dir", stage.hit_rate), *item_map(draft, name))


def _order(draft: Draft, stage: TrainStage, *, seed: int) -> DataOrder:
    """How a stage reads its datasets, which agree on sizes and epochs (a rule of the manifest)."""
    first = draft.manifest.datasets[stage.datasets[0]]
    return DataOrder(
        datasets=tuple(_prepared(draft, name) for name in stage.datasets),
        validation=None if stage.validation is None else _prepared(draft, stage.validation),
        mixture=stage.mixture,
        max_length=first.max_length,
        num_epochs=first.num_epochs,
        num_workers=first.num_workers,
        local_shuffle_buffer_size=first.local_shuffle_buffer_size,
        shuffle_memory_gigabytes=first.shuffle_memory_gigabytes,
        shuffle_seed=seed if first.shuffle_seed is None else first.shuffle_seed,
    )


def _prepared(draft: Draft, name: str) -> PreparedDataset:
    return PreparedDataset(
        name=name,
        store_dir=str(draft.run.dataset(name).path),
        validation_fraction=draft.manifest.datasets[name].validation_fraction,
    )


def _store(draft: Draft, name: str) -> Read:
    return Read(f"data.{name}", str(draft.run.dataset(name).path), f"prepare:{name}")


def _add_conversion(
    draft: Draft, stage: str, *, home: StepDir, model: ModelOnTheWay, best: bool, add_think_pattern: bool
) -> None:
    records, items = draft.run.conversion(stage), item_map(draft, stage)
    config = ConvertConfig(
        output_dir=str(records.path),
        stage_dir=str(home.path),
        link=str(home.converted),
        model_dir=model.model_dir,
        base_model=_name_of(draft.manifest.model.base_model_dir),
        manifest=str(draft.run.manifest),
        best=best,
        item_map=items[0].path if items else None,
        add_think_pattern=add_think_pattern and bool(items),
    )
    reads = (
        Read("stage_dir", str(home.path), stage),
        Read("model_dir", model.model_dir, model.step),
        *items,
    )
    draft.add(
        f"{stage}:convert",
        stage=stage,
        home=records,
        config=config,
        reads=reads,
        outputs=[home.converted],
    )


def _name_of(path: str | None) -> str | None:
    """Name of a model by its folder; in the Hub's cache, models--Qwen--Qwen3-1.7B/snapshots/..., its id."""
    if path is None:
        return None
    cached = [part for part in PurePath(path).parts if part.startswith("models--")]
    return cached[-1].removeprefix("models--").replace("--", "/", 1) if cached else PurePath(path).name
