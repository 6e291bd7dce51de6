"""The LM-head loss in chunks: at most `minibatch_size` rows of logits, gradients made in the same pass.

N trained positions, V vocabulary rows, F frozen rows, R trained rows, D width, C rows of a chunk.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from onerec.model.itemic_rows import SplitHead
from onerec.train.head import Head, multiply
from onerec.train.next_tokens import NextTokens, next_tokens

LOGITS_BYTES = 700 << 20
"""Logits that exist at one time: 1,024 positions of 176,384 rows in fp32."""
TILE_ROWS = 128
"""Matrix products work in tiles; chunks larger than one are a multiple of it."""


class PackLoss(NamedTuple):
    """Loss of one pack: the scalar `loss` for backward, and `losses_N` of the trained positions."""

    loss: torch.Tensor
    losses_N: torch.Tensor


class PackedLanguageModel(nn.Module):
    """A causal LM and its loss in one forward, so that sharded head weights are gathered exactly once.

    `lm` is transformers' Qwen3ForCausalLM; its own head is never called.
    """

    def __init__(self, lm: nn.Module, *, minibatch_size: int | None) -> None:
        super().__init__()
        self.lm = lm
        self._minibatch_size = minibatch_size

    def forward(
        self,
        input_ids_T: torch.Tensor,
        *,
        position_ids_T: torch.Tensor,
        cu_seqlens: torch.Tensor,
        max_seqlen: int,
        trained_N: torch.Tensor,
        labels_N: torch.Tensor,
        scale: float,
    ) -> PackLoss:
        """Loss of the positions `trained_N`, summed and times `scale`; per-position losses stay unscaled."""
        hidden_ND = self._hidden(input_ids_T, position_ids_T, cu_seqlens, max_seqlen, trained_N)
        trained_RD, frozen_FD = self._rows()
        loss, losses_N = head_loss(
            hidden_ND,
            trained_RD,
            labels_N,
            frozen_FD=frozen_FD,
            minibatch_size=self._minibatch_size,
            scale=scale,
        )
        return PackLoss(loss, losses_N)

    def predict(
        self,
        input_ids_T: torch.Tensor,
        *,
        position_ids_T: torch.Tensor,
        cu_seqlens: torch.Tensor,
        max_seqlen: int,
        at_N: torch.Tensor,
        ids: range,
    ) -> NextTokens:
        """What comes after the positions `at_N` of a pack; with FSDP2 it counts as a forward pass too."""
        hidden_ND = self._hidden(input_ids_T, position_ids_T, cu_seqlens, max_seqlen, at_N)
        head = Head(*self._rows())
        row_bytes = _at_least_fp32(hidden_ND).itemsize * head.columns
        rows = chunk_rows(len(hidden_ND), row_bytes=row_bytes, minibatch_size=self._minibatch_size)
        return next_tokens(hidden_ND, head, ids=ids, rows=rows)

    def _hidden(
        self,
        input_ids_T: torch.Tensor,
        position_ids_T: torch.Tensor,
        cu_seqlens: torch.Tensor,
        max_seqlen: int,
        at_N: torch.Tensor,
    ) -> torch.Tensor:
        hidden_1TD = self.lm.get_submodule("model")(
            input_ids=input_ids_T[None],
            position_ids=position_ids_T[None],
            use_cache=False,
            cu_seqlens=cu_seqlens,
            max_seqlen=max_seqlen,
        ).last_hidden_state
        return hidden_1TD[0].index_select(0, at_N)

    def _rows(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Rows of the head that train, and those before them that do not."""
        head = self.lm.get_submodule("lm_head")
        if isinstance(head, SplitHead):
            return head.itemic_rows, head.weight[: head.first_row]
        return head.weight, None


def head_loss(
    hidden_ND: torch.Tensor,
    weight_RD: torch.Tensor,
    labels_N: torch.Tensor,
    *,
    frozen_FD: torch.Tensor | None = None,
    minibatch_size: int | None = None,
    scale: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of `hidden @ [frozen; weight].T` against labels: (scale x sum, loss of each position).

    `minibatch_size` bounds the rows of logits alive at one time; None computes all at once. Logits, losses
    and sums are in fp32 (fp64 for fp64 inputs). Gradients of `hidden_ND` and `weight_RD` are made here,
    backward only scales them; `frozen_FD` gets none and costs no weight gradient.
    """
    # inside forward nobody can tell any more whether gradients are wanted
    wants = torch.is_grad_enabled()
    loss, losses_N = _HeadLoss.apply(hidden_ND, weight_RD, frozen_FD, labels_N, minibatch_size, scale, wants)
    return loss, losses_N


def chunk_rows(positions: int, *, row_bytes: int, minibatch_size: int | None) -> int:
    """Positions of one chunk, each with `row_bytes` of logits; the last chunk may be smaller.

    Each chunk adds to all of the weight gradient, so chunks are as large as LOGITS_BYTES allows.
    """
    if minibatch_size is None:
        return max(positions, 1)
    fitting = LOGITS_BYTES // row_bytes
    whole_tiles = fitting - fitting % TILE_ROWS if fitting > TILE_ROWS else max(fitting, 1)
    return max(1, min(minibatch_size, whole_tiles, positions))


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        weight_RD: torch.Tensor,
        frozen_FD: torch.Tensor | None,
        labels_N: torch.Tensor,
        minibatch_size: int | None,
        scale: float,
        wants_gradients: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        wants_hidden, wants_weight = (is_needed and wants_gradients for is_needed in ctx.needs_input_grad[:2])
        head = Head(weight_RD, frozen_FD)
        gradients = _Gradients(hidden_ND, head, scale=scale, hidden=wants_hidden, weight=wants_weight)
        losses_N = _losses(hidden_ND, labels_N, head, gradients, minibatch_size=minibatch_size)
        ctx.save_for_backward(*gradients.finished())
        ctx.mark_non_differentiable(losses_N)
        return losses_N.sum() * scale, losses_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        # on a device the question would cost a host sync, and the pass is short
        is_one = upstream.device.type == "cpu" and upstream.item() == 1.0
        hidden, weight = (
            gradient if gradient is None or is_one else gradient * upstream.to(gradient.dtype)
            for gradient in ctx.saved_tensors
        )
        return hidden, weight, None, None, None, None, None


def _losses(
    hidden_ND: torch.Tensor,
    labels_N: torch.Tensor,
    head: Head,
    gradients: _Gradients,
    *,
    minibatch_size: int | None,
) -> torch.Tensor:
    """Loss of every position; what is wanted of the gradients is gathered on the way."""
    dtype, positions = _at_least_fp32(hidden_ND), len(hidden_ND)
    rows = chunk_rows(positions, row_bytes=dtype.itemsize * head.columns, minibatch_size=minibatch_size)
    buffer_CV = hidden_ND.new_empty((min(rows, positions), head.columns), dtype=dtype)
    losses_N = hidden_ND.new_empty(positions, dtype=dtype)
    labels_N1 = head.columns_of(labels_N)[:, None]
    for start in range(0, positions, rows):
        chunk = slice(start, min(start + rows, positions))
        logits_CV, labels_C1 = buffer_CV[: chunk.stop - start], labels_N1[chunk]
        head.logits(hidden_ND[chunk], out_CV=logits_CV)
        torch.log_softmax(logits_CV, 1, out=logits_CV)
        torch.neg(logits_CV.gather(1, labels_C1)[:, 0], out=losses_N[chunk])
        if gradients.wanted:
            gradients.add(_slope(logits_CV, labels_C1, dtype=hidden_ND.dtype), chunk)
    return losses_N


def _slope(log_p_CV: torch.Tensor, labels_C1: torch.Tensor, *, dtype: torch.dtype) -> torch.Tensor:
    """Derivative of cross-entropy by the logits, softmax - one-hot, in the storage of its log-softmax."""
    # p - 1 of a nearly certain label would be lost by rounding p first
    at_label_C1 = torch.expm1(log_p_CV.gather(1, labels_C1))
    slope_CV = log_p_CV.exp_() if dtype == log_p_CV.dtype else _narrow_exp(log_p_CV, dtype)
    return slope_CV.scatter_(1, labels_C1, at_label_C1.to(dtype))


def _narrow_exp(log_p_CV: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """exp in a format of half the width, written over the front half of its own input.

    Row i of the result lies where row i // 2 of the input was, so each turn may do as many rows as are done.
    """
    half_CV = log_p_CV.view(dtype).view(-1)[: log_p_CV.numel()].view(log_p_CV.shape)
    half_CV[0] = log_p_CV[0].exp()
    done = 1
    while done < len(log_p_CV):
        turn = slice(done, min(2 * done, len(log_p_CV)))
        torch.exp(log_p_CV[turn], out=half_CV[turn])
        done = turn.stop
    return half_CV


class _Gradients:
    """Gradients of hidden states and trained head rows, gathered chunk by chunk; the rows' in fp32."""

    def __init__(
        self, hidden_ND: torch.Tensor, head: Head, *, scale: float, hidden: bool, weight: bool
    ) -> None:
        self.wanted = hidden or weight
        self._inputs_ND, self._head, self._scale = hidden_ND, head, scale
        self._hidden_ND = torch.empty_like(hidden_ND) if hidden else None
        self._weight_RD = None
        if weight:
            rows_RD = head.weight_RD
            # the first chunk overwrites it
            make = torch.empty_like if len(hidden_ND) else torch.zeros_like
            self._weight_RD = make(rows_RD, dtype=_at_least_fp32(rows_RD))

    def add(self, slope_CV: torch.Tensor, chunk: slice) -> None:
        """Take in the slope of one chunk's logits."""
        if self._hidden_ND is not None:
            sum_CD = self._hidden_ND[chunk]
            if _at_least_fp32(sum_CD) != sum_CD.dtype:
                sum_CD = torch.empty_like(sum_CD, dtype=_at_least_fp32(sum_CD))
            for part, (columns, rows) in enumerate(self._head.parts):
                multiply(slope_CV[:, columns], rows, out=sum_CD, times=self._scale, add=part > 0)
            self._hidden_ND[chunk] = sum_CD
        if self._weight_RD is not None:
            slope_RC = slope_CV[:, self._head.trained].T
            inputs_CD = self._inputs_ND[chunk]
            multiply(slope_RC, inputs_CD, out=self._weight_RD, times=self._scale, add=chunk.start > 0)

    def finished(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """The two gradients in the formats of what they belong to."""
        weight_RD, self._weight_RD = self._weight_RD, None
        return self._hidden_ND, None if weight_RD is None else weight_RD.to(self._head.weight_RD.dtype)


def _at_least_fp32(tensor: torch.Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
