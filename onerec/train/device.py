"""How this process uses its GPU, settled before the first tensor lies there: allocator and determinism.

A CPU needs none of it. What a person has set in the environment stays.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from onerec.config import Compute

ALLOCATOR = "PYTORCH_CUDA_ALLOC_CONF"
ALLOCATOR_NAMES = (ALLOCATOR, "PYTORCH_ALLOC_CONF")
"""Names that torch 2.11 to 2.13 read; the first is the older one, which all of them know."""


def set_up_device(device: torch.device, *, compute: Compute) -> None:
    """Allocate in segments that grow; with `deterministic`, use only kernels that always give the same bits.

    Source: https://docs.pytorch.org/docs/stable/notes/randomness.html and notes/cuda.html
    """
    if device.type == "cuda":
        set_defaults(os.environ, deterministic=compute.deterministic)
    if compute.deterministic:
        make_deterministic()


def set_defaults(env: MutableMapping[str, str], *, deterministic: bool) -> None:
    """What CUDA reads from the environment when it starts."""
    # packs of different lengths would else leave holes that no later pack fits into
    if not any(name in env for name in ALLOCATOR_NAMES):
        env[ALLOCATOR] = "expandable_segments:True"
    if deterministic:
        env.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def make_deterministic() -> None:
    """Torch's own switches; an operation that knows no deterministic kernel is an error from now on."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # every torch.empty would be filled
    import torch._inductor.config as inductor  # noqa: PLC0415 - slow, and only compiled layers need it

    inductor.deterministic = True  # or it would time its reductions, and choose other ones in another process
