"""One LM-head loss with its backward pass, as the scripts of C7 and C8 time it in a process of their own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import torch

from tests.benchmarks.peak import measured

SEED = 20260817
SAMPLED = 64

Losses = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Hidden states (TD), weight (VD) and labels (T, -100 = not trained) to the sum and the losses it is of."""


def tell(losses_of: Losses) -> None:
    """Run a loss on the problem of argument 1; seconds, extra bytes and samples of the results on stdout.

    Extra are bytes beyond inputs and returned gradients.
    """
    given = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    hidden_TD, weight_VD, labels_T = problem(**given["shape"])

    def work() -> tuple[torch.Tensor, torch.Tensor]:
        loss, losses = losses_of(hidden_TD, weight_VD, labels_T)
        loss.backward()
        return loss.detach(), losses.detach()

    (loss, losses), seconds, peak = measured(work)
    returned = sum(tensor.grad.nbytes for tensor in (hidden_TD, weight_VD))
    told = {"loss": float(loss), "losses": _samples(losses[losses != 0])}
    told |= {"hidden": _samples(hidden_TD.grad), "weight": _samples(weight_VD.grad)}
    print(json.dumps({"seconds": seconds, "bytes": peak - returned, **told}))


def problem(
    *, tokens: int, width: int, rows: int, trained: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states, weight and labels, of which the part `trained` is kept; made in place."""
    generator = torch.Generator().manual_seed(SEED)
    hidden_TD = torch.empty(tokens, width).normal_(generator=generator)
    weight_VD = torch.empty(rows, width).normal_(std=0.02, generator=generator)
    labels_T = torch.randint(0, rows, (tokens,), generator=generator)
    labels_T[torch.rand(tokens, generator=generator) >= trained] = -100
    return hidden_TD.requires_grad_(), weight_VD.requires_grad_(), labels_T


def _samples(tensor: torch.Tensor) -> list[float]:
    """The norm of all, and some rows: of a matrix, their products with a random vector."""
    generator = torch.Generator().manual_seed(SEED)
    by_row = tensor
    if tensor.dim() == 2:
        by_row = tensor @ torch.randn(tensor.shape[1], generator=generator)
    rows = torch.randint(0, len(by_row), (SAMPLED,), generator=generator) if len(by_row) else []
    return [float(torch.linalg.vector_norm(tensor)), *by_row[rows].tolist()]
