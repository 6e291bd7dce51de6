"""What a model says next: log-probabilities of some tokens, and the likeliest of all.

The logits of all positions never exist at one time. N positions, C positions of a chunk, K tokens that are
asked for, V vocabulary rows, D width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from onerec.train.head import Head


class NextTokens(NamedTuple):
    """What comes after each position."""

    log_probs_NK: torch.Tensor
    """Of the tokens asked for, under the softmax over the whole vocabulary; fp32 or more."""
    best_N: torch.Tensor
    """The likeliest token of all; of equal ones the first."""


def next_tokens(hidden_ND: torch.Tensor, head: Head, *, ids: range, rows: int) -> NextTokens:
    """Read the next tokens from hidden states, `rows` positions at a time, of the tokens `ids` in order."""
    columns_K = head.columns_of(torch.arange(ids.start, ids.stop, device=hidden_ND.device))
    dtype = torch.promote_types(hidden_ND.dtype, torch.float32)
    log_probs_NK = hidden_ND.new_empty((len(hidden_ND), len(ids)), dtype=dtype)
    best_N = hidden_ND.new_empty(len(hidden_ND), dtype=torch.int64)
    buffer_CV = hidden_ND.new_empty((min(rows, len(hidden_ND)), head.columns), dtype=dtype)
    for start in range(0, len(hidden_ND), rows):
        chunk = slice(start, min(start + rows, len(hidden_ND)))
        logits_CV = buffer_CV[: chunk.stop - start]
        head.logits(hidden_ND[chunk], out_CV=logits_CV)
        log_probs_NK[chunk] = logits_CV.index_select(1, columns_K) - logits_CV.logsumexp(1, keepdim=True)
        best_N[chunk] = head.ids_of(logits_CV.argmax(1))
    return NextTokens(log_probs_NK, best_N)
