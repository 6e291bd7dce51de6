"""Look whether a pack fits into the GPUs: an estimate, so that only what cannot fit at all is an error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from onerec.config.memory import SAFE_SHARE
from runner.manifest.faults import dotted
from runner.memory import StageMemory
from runner.preflight.findings import Finding, error, warning
from runner.report import size


@dataclass(frozen=True)
class MemoryFigures(Finding):
    """What a rank of a stage needs, in words and in numbers."""

    figures: Mapping[str, Any]


def check_memory(memories: Mapping[str, StageMemory]) -> Iterator[Finding]:
    """An error for a stage that cannot fit whatever is recomputed, a warning where it nearly does not."""
    for name, memory in memories.items():
        if memory.gpu is None or memory.share is None:
            continue
        place, has = dotted(("stages", name)), f"{memory.gpu.name} has {size(memory.gpu.memory_bytes)}"
        least = memory.by_mode["full"]
        if least > memory.gpu.memory_bytes:
            tell = warning if memory.several_hosts else error  # other hosts may have other GPUs
            yield tell(
                place,
                f"a rank needs about {size(least)} even with full activation checkpointing, and {has}",
                "lower max_length or minibatch_size, use more GPUs"
                + ("" if memory.shard_ranks == memory.ranks else ', or write sharding = "full"'),
            )
        elif memory.share > SAFE_SHARE:
            yield warning(
                place,
                f"a rank needs about {size(memory.needed.total)}, {memory.share:.0%} of memory: {has}",
                _remedy(memory),
            )


def memory_figures(memories: Mapping[str, StageMemory]) -> Iterator[Finding]:
    """What each stage needs, for people and programs; no fault."""
    for name, memory in memories.items():
        place = dotted(("stages", name))
        yield MemoryFigures("info", place, f"memory: {memory}", "", memory.to_json())


def _remedy(memory: StageMemory) -> str:
    fixed = not memory.is_chosen and memory.needed.checkpointing != "full"
    more = 'write activation_checkpointing = "auto", ' if fixed else ""
    return f"{more}lower max_length or minibatch_size, or use more GPUs"
