"""What CUDA reads from the environment when torch is loaded: ours where nobody has set it. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

ALLOCATOR = "PYTORCH_CUDA_ALLOC_CONF"
ALLOCATOR_NAMES = (ALLOCATOR, "PYTORCH_ALLOC_CONF")
"""Names that torch 2.11 to 2.13 read; the first is the older one, which all of them know."""


def set_defaults(env: MutableMapping[str, str], *, deterministic: bool) -> None:
    """Allocate in segments that grow; with `deterministic`, a workspace with which cuBLAS repeats its bits.

    Source: https://docs.pytorch.org/docs/stable/notes/cuda.html and notes/randomness.html
    """
    # packs of different lengths would else leave holes that no later pack fits into
    if not any(name in env for name in ALLOCATOR_NAMES):
        env[ALLOCATOR] = "expandable_segments:True"
    if deterministic:
        env.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
