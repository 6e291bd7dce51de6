"""The GPUs of this host, as nvidia-smi tells them: no driver is loaded and nothing is changed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.environment import gpu_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LINE = re.compile(r"(?P<name>.+), (?P<mib>[0-9]+) MiB, [^,]*")


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU, and the memory that all of its processes share."""

    name: str
    memory_bytes: int


def visible_gpus(env: Mapping[str, str]) -> tuple[Gpu, ...]:
    """The GPUs that a process here would see; none without nvidia-smi or where it fails."""
    found = [gpu for gpu in map(parse_gpu, gpu_lines()) if gpu is not None]
    return tuple(_chosen(found, env.get("CUDA_VISIBLE_DEVICES")))


def smallest(gpus: Sequence[Gpu], *, ranks: int) -> Gpu | None:
    """The one with least memory among those that so many ranks use, the largest first; None of none."""
    largest = sorted(gpus, key=lambda gpu: -gpu.memory_bytes)
    return min(largest[:ranks], key=lambda gpu: gpu.memory_bytes, default=None)


def parse_gpu(line: str) -> Gpu | None:
    """`NVIDIA H200, 143771 MiB, 570.86.15`; None for a line that tells no memory, as of a GPU in pieces."""
    found = _LINE.fullmatch(line.strip())
    return None if found is None else Gpu(found["name"], int(found["mib"]) << 20)


def _chosen(gpus: Sequence[Gpu], visible: str | None) -> Sequence[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES numbers; all of them where it is not there or names them otherwise."""
    names = [] if visible is None else [name.strip() for name in visible.split(",")]
    if visible is not None and names in ([""], ["-1"]):
        return ()
    numbers = [int(name) for name in names if name.isdecimal()]
    if len(numbers) < len(names) or visible is None:
        return gpus
    return [gpus[number] for number in numbers if number < len(gpus)]
