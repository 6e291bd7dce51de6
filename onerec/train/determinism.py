"""The same bits on every run, for a price; what CUDA is told before is in `cuda_environment`."""

from __future__ import annotations

import torch


def make_deterministic() -> None:
    """Use deterministic kernels only; an operation that knows none is an error from now on.

    Source: https://docs.pytorch.org/docs/stable/notes/randomness.html
    """
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # every torch.empty would be filled
    import torch._inductor.config as inductor  # noqa: PLC0415 - slow, and only compiled layers need it

    inductor.deterministic = True  # or it would time its reductions, and choose other ones in another process
