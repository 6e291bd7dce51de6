"""One Qwen3 layer's attention over packed documents, as the scripts of C10 time it in a process of their own.

The shapes are those of Qwen3-0.6B: 16 query heads of width 128, 8 key and value heads.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import numpy as np
import torch

from tests.benchmarks.peak import measured

QUERY_HEADS, KEY_HEADS, WIDTH = 16, 8, 128
SEED = 20260817

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Query 1HTE, key and value 1KTE to output 1THE."""


def lengths_of(tokens: int, mean: int) -> list[int]:
    """Document lengths of about `mean`, from half to one and a half times as much, that fill `tokens`."""
    draw = np.random.default_rng(SEED)
    weights = draw.uniform(0.5, 1.5, round(tokens / mean))
    borders = np.round(np.cumsum(weights) / weights.sum() * tokens).astype(int)
    return np.diff(borders, prepend=0).tolist()


def tell(prepare: Callable[[list[int]], Attend]) -> None:
    """Run forward and backward on the tokens of argument 1; seconds and extra bytes on stdout.

    What `prepare` makes once for all layers counts as memory, not as time. Extra are bytes beyond inputs and
    their gradients. Output and gradients are told by the product with a random vector, position by position.
    """
    given = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    lengths = lengths_of(given["tokens"], given["mean"])
    generator = torch.Generator().manual_seed(SEED)
    query, key, value, slope = (
        torch.empty(1, sum(lengths), heads, WIDTH).normal_(generator=generator)
        for heads in (QUERY_HEADS, KEY_HEADS, KEY_HEADS, QUERY_HEADS)
    )
    inputs = [tensor.transpose(1, 2).requires_grad_() for tensor in (query, key, value)]
    attend, _, kept = measured(lambda: prepare(lengths))

    def work() -> torch.Tensor:
        out = attend(*inputs)
        out.backward(slope)
        return out.detach()

    out, seconds, peak = measured(work)
    gradients = [tensor.grad for tensor in inputs]
    extra = kept + peak - sum(gradient.nbytes for gradient in gradients)
    results = [out, *(gradient.transpose(1, 2) for gradient in gradients)]
    told = {
        name: _samples(result) for name, result in zip(("out", "query", "key", "value"), results, strict=True)
    }
    print(json.dumps({"seconds": seconds, "bytes": extra, **told}))


def _samples(result_1THE: torch.Tensor) -> list[float]:
    by_token = result_1THE[0].flatten(1)
    generator = torch.Generator().manual_seed(SEED)
    along = torch.randn(by_token.shape[1], generator=generator)
    return (by_token @ along)[:: max(1, len(by_token) // 256)].tolist()
