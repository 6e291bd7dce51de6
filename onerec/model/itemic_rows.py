"""Stage 1's parameters: the rows of embedding and head that train, beside tables that stay frozen.

Gradients, optimizer state, clipping and checkpoints then concern the new rows alone, and frozen parameters
are kept in the numbers that they are computed with. V rows in all, R of them new, T tokens, width D.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

ROWS_SUFFIX = "itemic_rows"
"""Name of the parameter beside `weight`; checkpoints and the conversion know it by this."""


class SplitEmbedding(nn.Module):
    """An embedding whose rows from `first_row` on are `itemic_rows`, a parameter of their own (RD).

    `weight` (VD) keeps the table as it was; its rows from `first_row` on are never read.
    """

    def __init__(self, weight: nn.Parameter, rows: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight
        self.itemic_rows = rows
        self.first_row = weight.shape[0] - rows.shape[0]

    def forward(self, ids_T: torch.Tensor) -> torch.Tensor:
        """Rows of the ids; the gradient flows into `itemic_rows` only."""
        is_new_T = ids_T >= self.first_row
        frozen_TD = functional.embedding(ids_T.masked_fill(is_new_T, 0), self.weight)
        new_TD = functional.embedding((ids_T - self.first_row).clamp(min=0), self.itemic_rows)
        return torch.where(is_new_T[..., None], new_TD, frozen_TD)


class SplitHead(nn.Module):
    """A head whose output rows from `first_row` on are `itemic_rows`; the loss reads both parts."""

    def __init__(self, weight: nn.Parameter, rows: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight
        self.itemic_rows = rows
        self.first_row = weight.shape[0] - rows.shape[0]


def train_only_rows(model: nn.Module, *, first_row: int, frozen_dtype: torch.dtype) -> None:
    """Freeze a Qwen3ForCausalLM but for the rows from `first_row` on of its embedding (and head, if untied).

    The rows keep the model's number format; what is frozen is kept in `frozen_dtype`, since nothing is ever
    added to it. Raises ValueError when `first_row` is outside the table.
    """
    embedding, head = model.get_submodule("model.embed_tokens"), model.get_submodule("lm_head")
    table = embedding.get_parameter("weight")
    if not 0 <= first_row < table.shape[0]:
        raise ValueError(
            f"start_optimize_embedding_index {first_row} is outside the table of {table.shape[0]} rows; "
            "expand the vocabulary first, or choose a row of the table"
        )
    is_tied = head.get_parameter("weight") is table
    rows = _new_rows(table, first_row)
    head_rows = rows if is_tied else _new_rows(head.get_parameter("weight"), first_row)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
        parameter.data = parameter.data.to(frozen_dtype)
    model.get_submodule("model").embed_tokens = SplitEmbedding(table, rows)
    model.lm_head = SplitHead(head.get_parameter("weight"), head_rows)


def _new_rows(table: nn.Parameter, first_row: int) -> nn.Parameter:
    return nn.Parameter(torch.empty_like(table[first_row:]), requires_grad=True)
