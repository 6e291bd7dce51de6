"""How much memory this rank has, which activation checkpointing fits into it, and what to do when it ran out.

The estimate itself is arithmetic of `onerec.config.memory`, which the runner shows before anything starts.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from onerec.config.memory import (
    MemoryEstimate,
    Mode,
    ModelSizes,
    StageShape,
    configured_checkpointing,
    estimate_stage,
)
from onerec.distributed import gather_json
from onerec.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import Qwen3Config

    from onerec.config import Compute, Trainable

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True)
class Resolution:
    """The activation checkpointing of a stage on all its ranks, and why."""

    estimate: MemoryEstimate
    available_bytes: int
    """Of the rank that has least."""
    is_chosen: bool
    """Whether memory decided; otherwise the manifest did."""

    @property
    def mode(self) -> Mode:
        """What every rank uses."""
        return self.estimate.checkpointing

    @property
    def fits(self) -> bool:
        """Whether the estimate is within what is free."""
        return self.estimate.total <= self.available_bytes

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {_size(value)}" for name, value in self.estimate.parts.items())
        why = "chosen by memory" if self.is_chosen else "as configured"
        doubt = (
            "" if self.fits else '; it may not fit: lower max_length, use more ranks, or sharding = "full"'
        )
        return (
            f"activation checkpointing: {self.mode} ({why}); a rank needs about "
            f"{_size(self.estimate.total)} of {_size(self.available_bytes)} free ({parts}){doubt}"
        )


def stage_shape(
    config: Qwen3Config,
    *,
    trainable: Trainable,
    compute: Compute,
    first_itemic_id: int,
    max_length: int,
    shard_ranks: int,
    device: torch.device,
) -> StageShape:
    """What the memory of a stage depends on; `first_itemic_id` is where stage 1 trains from by default."""
    first = trainable.start_optimize_embedding_index
    first = first_itemic_id if first is None else first
    return StageShape(
        model=ModelSizes(
            hidden=config.hidden_size,
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            intermediate=config.intermediate_size,
            rows=config.vocab_size,
            tied=bool(config.tie_word_embeddings),
        ),
        compute=compute,
        max_length=max_length,
        shard_ranks=shard_ranks,
        on_gpu=device.type == "cuda",
        trained_rows=config.vocab_size - first if trainable.freeze_llm else None,
    )


def resolve_checkpointing(shape: StageShape, *, device: torch.device, local_size: int) -> Resolution:
    """What all ranks use, decided by the one with least free memory; all ranks call it, before the model.

    A configuration that says none, selective or full is kept; auto becomes the least recomputation that fits.
    """
    mine = available_bytes(device, local_size=local_size)
    if device.type == "cuda" and shape.compute.deterministic:
        mine = torch.cuda.mem_get_info(device)[1]  # the choice changes rounding, and what is free changes
    available = min(gather_json(mine))
    return Resolution(
        estimate=estimate_stage(shape, available),
        available_bytes=available,
        is_chosen=configured_checkpointing(shape.compute) is None,
    )


def available_bytes(device: torch.device, *, local_size: int) -> int:
    """Free memory of this rank's GPU, or on a CPU its share of what the host and its container have free."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return min(_host_bytes(), _container_bytes()) // local_size


def _host_bytes() -> int:
    lines = MEMINFO.read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["MemAvailable"].split()[0]) * 1024


def _container_bytes() -> int:
    """What is left below the limit of this process's control group (version 2); no limit without one."""
    limit, current, parts = (CGROUP / f"memory.{name}" for name in ("max", "current", "stat"))
    if not limit.exists() or (told := limit.read_text(encoding="ascii").strip()) == "max":
        return sys.maxsize
    fields = dict(line.split() for line in parts.read_text(encoding="ascii").splitlines())
    used = int(current.read_text(encoding="ascii")) - int(fields.get("inactive_file", 0))
    return max(0, int(told) - used)


@contextmanager
def telling_out_of_memory(device: torch.device) -> Iterator[None]:
    """Raise ConfigError with the remedies where a GPU's memory ends inside."""
    try:
        yield
    except torch.OutOfMemoryError as fault:
        raise ConfigError(out_of_memory_text(fault, device=device)) from fault


def out_of_memory_text(fault: torch.OutOfMemoryError, *, device: torch.device) -> str:
    """Torch's first two sentences, and what a person can change, from the cheapest remedy on."""
    told = ". ".join(str(fault).split(". ")[:2])
    return (
        f'{device} ran out of memory: {told}; set activation_checkpointing = "full", lower max_length or '
        'minibatch_size, use more GPUs, or sharding = "full"; runner check tells what each part needs'
    )


def _size(amount: int) -> str:
    units = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
    return next((f"{amount / one:.1f} {name}" for one, name in units if amount >= one), f"{amount} bytes")
