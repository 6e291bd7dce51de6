"""What the memory estimate says of each training stage, beside the memory of known GPUs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onerec.config.memory import (
    MODES,
    MemoryEstimate,
    Mode,
    ModelSizes,
    StageShape,
    configured_checkpointing,
    estimate,
    estimate_stage,
)
from onerec.config.mesh import mesh_shape
from runner.report import size
from runner.slurm.limits import tasks_per_node

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onerec.config import Compute
    from runner.gpus import Gpu
    from runner.hosts import Host
    from runner.manifest.tables import Cluster


@dataclass(frozen=True)
class StageMemory:
    """What one rank of a training stage needs, and what it has."""

    needed: MemoryEstimate
    by_mode: Mapping[Mode, int]
    """Total bytes with each activation checkpointing."""
    is_chosen: bool
    """Whether memory decides the checkpointing when the stage starts; otherwise the manifest has."""
    ranks: int
    shard_ranks: int
    gpu: Gpu | None
    """The smallest GPU here; the other hosts are taken to have the same. None where none is known."""
    on_gpu: bool
    several_hosts: bool

    @property
    def share(self) -> float | None:
        """What is needed of what is there; None for unknown memory."""
        return None if self.gpu is None else self.needed.total / self.gpu.memory_bytes

    def to_json(self) -> dict[str, object]:
        """The same for programs; bytes."""
        return {
            **self.needed.to_json(),
            "is_chosen": self.is_chosen,
            "by_checkpointing": dict(self.by_mode),
            "ranks": self.ranks,
            "shard_ranks": self.shard_ranks,
            "gpu": None if self.gpu is None else self.gpu.name,
            "gpu_bytes": None if self.gpu is None else self.gpu.memory_bytes,
        }

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size(value)}" for name, value in self.needed.parts.items())
        return f"about {size(self.needed.total)} a rank {self._against()}, {self._mode()} ({parts})"

    def _against(self) -> str:
        if self.gpu is None:
            return "(to be compared when a GPU is known)" if self.on_gpu else "(no GPU here)"
        assumed = ", taken to be on every host" if self.several_hosts else ""
        return f"of the {size(self.gpu.memory_bytes)} of {self.gpu.name}{assumed}"

    def _mode(self) -> str:
        if not self.is_chosen:
            return f"activation checkpointing {self.needed.checkpointing}"
        if self.gpu is not None:
            return f"activation checkpointing {self.needed.checkpointing}, chosen by memory"
        others = ", ".join(
            f"{mode} {size(self.by_mode[mode])}" for mode in MODES if mode != self.needed.checkpointing
        )
        return f"activation checkpointing {self.needed.checkpointing} at worst ({others})"


def stage_memory(
    sizes: ModelSizes,
    *,
    compute: Compute,
    trained_rows: int | None,
    max_length: int,
    hosts: Sequence[int],
    gpu: Gpu | None,
    on_gpu: bool,
) -> StageMemory:
    """What a stage needs on a cluster with `hosts` ranks a host; `trained_rows` with freeze_llm.

    Raises ConfigError for a sharding that the hosts do not allow.
    """
    shape = StageShape(
        model=sizes,
        compute=compute,
        max_length=max_length,
        shard_ranks=mesh_shape(compute.sharding, hosts=hosts)[-1],
        on_gpu=on_gpu,
        trained_rows=trained_rows,
    )
    return StageMemory(
        needed=estimate_stage(shape, None if gpu is None else gpu.memory_bytes),
        by_mode={mode: estimate(shape, mode).total for mode in MODES},
        is_chosen=configured_checkpointing(compute) is None,
        ranks=sum(hosts),
        shard_ranks=shape.shard_ranks,
        gpu=gpu,
        on_gpu=on_gpu,
        several_hosts=len(hosts) > 1,
    )


def ranks_by_host(cluster: Cluster, *, hosts: Sequence[Host], gpus: int) -> tuple[int, ...]:
    """Ranks that a training stage has on each host; of a range of hosts, the fewest."""
    if cluster.launcher == "local":
        return (1,)
    fewest = len(hosts) if cluster.nnodes is None and hosts else cluster.node_range[0]
    per_host = tasks_per_node(cluster) if cluster.launcher == "slurm" else cluster.nproc_per_node
    if per_host == "auto":
        per_host = (hosts[0].slots if hosts else None) or gpus or 1
    return (per_host,) * max(1, fewest)
