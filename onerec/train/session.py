"""Everything a stage trains with, put together: model, optimizer, data and the state it goes on from.

The loop is elsewhere; nothing here takes a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from onerec.config import TrainConfig
from onerec.data.loading.load import PackLoader
from onerec.data.loading.validation import ValidationPacks, open_validation
from onerec.distributed import World, on_main
from onerec.errors import ConfigError
from onerec.model.build import build_model, read_config, read_vocab
from onerec.model.load import load_weights
from onerec.model.memory import resolve_checkpointing, stage_shape
from onerec.model.shard import build_mesh, shard
from onerec.progress import say
from onerec.train.data_record import go_on_from, record_data
from onerec.train.flops import peak_of_ranks
from onerec.train.hit_rate import HitRate, open_hit_rate
from onerec.train.loss import PackedLanguageModel
from onerec.train.optimizer import build_optimizer, describe_groups
from onerec.train.origin import Origin, describe_origin, find_origin
from onerec.train.restore import restore

if TYPE_CHECKING:
    import torch
    from transformers import Qwen3Config

    from onerec.checkpoint.state import TrainerState
    from onerec.vocab import ItemicVocab


@dataclass(frozen=True)
class Session:
    """A stage ready to train."""

    config: TrainConfig
    world: World
    device: torch.device
    vocab: ItemicVocab
    model: PackedLanguageModel
    model_config: Qwen3Config
    optimizer: torch.optim.AdamW
    loader: PackLoader
    validation: ValidationPacks | None
    """What is evaluated; None where there is no validation data."""
    hit_rate: HitRate | None
    """What is asked for items; None where there are no questions."""
    packs_per_step: int
    total_steps: int
    """Step at which the stage is done."""
    ends_by: Literal["max_steps", "data_end"]
    start: TrainerState | None
    trained_rows: int | None
    """Rows of the head that train with freeze_llm; None when everything trains."""
    peak_flop_per_second: float | None

    @property
    def output_dir(self) -> Path:
        """The stage's folder."""
        return Path(self.config.output_dir)


def open_session(config: TrainConfig, *, world: World, device: torch.device) -> Session:
    """Build or resume a stage; all ranks call it together.

    Raises ConfigError for a model that does not fit the manifest, DriftError for data that changed since the
    checkpoint, StorageError for checkpoints that are all damaged.
    """
    origin = find_origin(config, is_main=world.is_main)
    model_dir = Path(config.model.model_dir)
    vocab = read_vocab(model_dir, config.vocab)
    packs_per_step = _packs_per_step(config, origin.state, world_size=world.size)
    pad_to = config.data.max_length if device.type == "cuda" else None
    loader = PackLoader(
        config.data, rank=world.rank, world_size=world.size, packs_per_step=packs_per_step, pad_to=pad_to
    )
    _check_itemic_ids(loader, vocab, model_dir=model_dir)
    if origin.state is not None:  # before iter(): workers copy the position when they start
        go_on_from(origin.state.data, loader=loader, stage_dir=Path(config.output_dir))
    validation = open_validation(
        config.data,
        rank=world.rank,
        world_size=world.size,
        pad_to=pad_to,
        max_packs=config.validating.max_validation_packs,
    )
    hit_rate = open_hit_rate(config, world=world, vocab=vocab, pad_to=pad_to)
    model_config = read_config(config.model)
    model = _sharded_model(config, model_config, vocab=vocab, world=world, device=device)
    optimizer = build_optimizer(model.lm, optim=config.optim)
    _fill(config, origin, model=model, optimizer=optimizer)
    if world.is_main:
        say(f"{describe_groups(model.lm, config.optim)}\n{describe_origin(config, origin)}")
    on_main(
        lambda: record_data(
            loader,
            packs_per_step=packs_per_step,
            stage=config.stage,
            stage_dir=Path(config.output_dir),
        ),
        is_main=world.is_main,
    )
    total_steps = _length(config, origin, loader)
    return Session(
        config=config,
        world=world,
        device=device,
        vocab=vocab,
        model=model,
        model_config=model_config,
        optimizer=optimizer,
        loader=loader,
        validation=validation,
        hit_rate=hit_rate,
        packs_per_step=packs_per_step,
        total_steps=total_steps,
        ends_by="max_steps" if total_steps == config.duration.max_steps else "data_end",
        start=origin.state,
        trained_rows=_trained_rows(model) if config.trainable.freeze_llm else None,
        peak_flop_per_second=peak_of_ranks(device, world=world),
    )


def _length(config: TrainConfig, origin: Origin, loader: PackLoader) -> int:
    """Step at which the stage is done: max_steps, or the end of the data where that comes first."""
    max_steps = config.duration.max_steps
    end_of_data = (origin.state.step if origin.state else 0) + loader.steps_left
    total_steps = min(max_steps or end_of_data, end_of_data)
    if origin.state is not None and origin.state.step > total_steps:
        raise ConfigError(
            f"{origin.checkpoint} is at step {origin.state.step}, the stage ends at step {total_steps}; "
            "raise max_steps or num_epochs, or choose an earlier checkpoint"
        )
    return total_steps


def _packs_per_step(config: TrainConfig, state: TrainerState | None, *, world_size: int) -> int:
    if state is not None:
        return state.packs_per_step
    return config.duration.packs_per_step or world_size


def _sharded_model(
    config: TrainConfig, model_config: Qwen3Config, *, vocab: ItemicVocab, world: World, device: torch.device
) -> PackedLanguageModel:
    if model_config.vocab_size <= vocab.last_id:
        raise ConfigError(
            f"{config.model.model_dir}: {model_config.vocab_size} rows hold no id {vocab.last_id}; "
            'put a stage with kind = "expand_vocab" before this one'
        )
    mesh = build_mesh(
        device, world_size=world.size, local_size=world.local_size, sharding=config.compute.sharding
    )
    shape = stage_shape(
        model_config,
        trainable=config.trainable,
        compute=config.compute,
        first_itemic_id=vocab.first_id,
        max_length=config.data.max_length,
        shard_ranks=mesh.size(-1),
        device=device,
    )
    resolution = resolve_checkpointing(shape, device=device, local_size=world.local_size)
    if world.is_main:
        say(str(resolution))
    compute = config.compute.model_copy(update={"activation_checkpointing": resolution.mode})
    lm = build_model(
        model_config,
        trainable=config.trainable,
        compute=compute,
        first_itemic_id=vocab.first_id,
        device=device,
    )
    chunk = compute.minibatch_size if compute.use_chunked_loss_computer else None
    model = PackedLanguageModel(lm, minibatch_size=chunk)
    shard(model, lm, mesh=mesh, device=device, compute=compute)
    return model


def _fill(
    config: TrainConfig, origin: Origin, *, model: PackedLanguageModel, optimizer: torch.optim.AdamW
) -> None:
    missing = load_weights(
        model.lm,
        Path(config.model.model_dir),
        allow_random=config.trainable.allow_random_init_params,
        seed=config.seed,
    )
    for name in missing:
        say(f"warning: {name} is not in {config.model.model_dir} and starts at random", is_warning=True)
    if origin.checkpoint is not None:
        step = origin.state.step if origin.state is not None else 0
        restore(
            origin.checkpoint,
            model=model.lm,
            optimizer=optimizer if origin.takes == "everything" else None,
            step=step,
        )


def _trained_rows(model: PackedLanguageModel) -> int:
    return model.lm.get_parameter("lm_head.itemic_rows").shape[0]


def _check_itemic_ids(loader: PackLoader, vocab: ItemicVocab, *, model_dir: Path) -> None:
    prepared = loader.itemic_ids
    if prepared != range(vocab.first_id, vocab.last_id + 1):
        raise ConfigError(
            f"the datasets were prepared with the itemic ids {prepared[0]} to {prepared[-1]}, {model_dir} "
            f"has {vocab.first_id} to {vocab.last_id}; prepare them with its tokenizer"
        )
