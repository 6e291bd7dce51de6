"""The LM-head loss in chunks: at most `minibatch_size` rows of logits, gradients made in the same pass.

N trained positions, V vocabulary rows, F frozen rows, R trained rows, D width, C rows of a chunk.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from onerec.model.itemic_rows import SplitHead

LOGITS_BYTES = 1 << 29
"""fp32 logits that exist at one time; larger chunks cost memory and gain no speed."""


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
        hidden_1TD = self.lm.get_submodule("model")(
            input_ids=input_ids_T[None],
            position_ids=position_ids_T[None],
            use_cache=False,
            cu_seqlens=cu_seqlens,
            max_seqlen=max_seqlen,
        ).last_hidden_state
        hidden_ND = hidden_1TD[0].index_select(0, trained_N)
        head = self.lm.get_submodule("lm_head")
        if isinstance(head, SplitHead):
            frozen_FD, trained_RD = head.weight[: head.first_row], head.itemic_rows
        else:
            frozen_FD, trained_RD = None, head.weight
        loss, losses_N = head_loss(
            hidden_ND,
            trained_RD,
            labels_N,
            frozen_FD=frozen_FD,
            minibatch_size=self._minibatch_size,
            scale=scale,
        )
        return PackLoss(loss, losses_N)


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

    `minibatch_size` bounds the rows of logits alive at one time; None computes them all at once. Sums are in
    fp32. Gradients flow to `hidden_ND` and `weight_RD`; `frozen_FD` gets none and costs no weight gradient.
    """
    # inside forward nobody can tell any more whether gradients are wanted
    wants = torch.is_grad_enabled()
    loss, losses_N = _HeadLoss.apply(hidden_ND, weight_RD, frozen_FD, labels_N, minibatch_size, scale, wants)
    return loss, losses_N


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
        needs_hidden, needs_weight = (is_needed and wants_gradients for is_needed in ctx.needs_input_grad[:2])
        gradients = _Gradients(hidden_ND if needs_hidden else None, weight_RD if needs_weight else None)
        rows = weight_RD.shape[0] + (0 if frozen_FD is None else frozen_FD.shape[0])
        chunk = _chunk_rows(hidden_ND.shape[0], rows=rows, minibatch_size=minibatch_size)
        losses = []
        for start in range(0, hidden_ND.shape[0], chunk):
            stop = start + chunk
            hidden_CD, labels_C = hidden_ND[start:stop], labels_N[start:stop]
            logits_CV = _logits(hidden_CD, weight_RD, frozen_FD)
            losses.append(functional.cross_entropy(logits_CV, labels_C, reduction="none"))
            if gradients.wanted:
                slope_CV = _slope(logits_CV, labels_C, scale=scale)
                gradients.add(slope_CV.to(hidden_ND.dtype), hidden_CD, weight_RD, frozen_FD, start=start)
        losses_N = torch.cat(losses) if losses else hidden_ND.new_zeros(0, dtype=_at_least_fp32(hidden_ND))
        ctx.save_for_backward(*gradients.as_tensors(hidden_ND, weight_RD))
        ctx.mark_non_differentiable(losses_N)
        return losses_N.sum() * scale, losses_N

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        upstream = outputs[0]
        hidden_ND, weight_RD = ctx.saved_tensors
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        return (
            hidden_ND * upstream.to(hidden_ND.dtype) if wants_hidden else None,
            weight_RD * upstream.to(weight_RD.dtype) if wants_weight else None,
            None,
            None,
            None,
            None,
            None,
        )


class _Gradients:
    """Gradients of hidden states and trained head rows, gathered chunk by chunk; the rows' in fp32."""

    def __init__(self, hidden_ND: torch.Tensor | None, weight_RD: torch.Tensor | None) -> None:
        self.hidden_ND = None if hidden_ND is None else torch.empty_like(hidden_ND)
        self.weight_RD = (
            None if weight_RD is None else torch.zeros_like(weight_RD, dtype=_at_least_fp32(weight_RD))
        )
        self.wanted = self.hidden_ND is not None or self.weight_RD is not None

    def add(
        self,
        slope_CV: torch.Tensor,
        hidden_CD: torch.Tensor,
        weight_RD: torch.Tensor,
        frozen_FD: torch.Tensor | None,
        *,
        start: int,
    ) -> None:
        frozen = 0 if frozen_FD is None else frozen_FD.shape[0]
        slope_CR = slope_CV[:, frozen:]
        if self.hidden_ND is not None:
            gradient_CD = slope_CR @ weight_RD
            if frozen_FD is not None:
                gradient_CD += slope_CV[:, :frozen] @ frozen_FD
            self.hidden_ND[start : start + len(gradient_CD)] = gradient_CD
        if self.weight_RD is not None:
            if self.weight_RD.dtype == slope_CR.dtype:
                self.weight_RD.addmm_(slope_CR.T, hidden_CD)
            else:
                self.weight_RD += slope_CR.T @ hidden_CD

    def as_tensors(
        self, hidden_ND: torch.Tensor, weight_RD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        nothing = hidden_ND.new_empty(0)
        hidden = nothing if self.hidden_ND is None else self.hidden_ND
        return hidden, nothing if self.weight_RD is None else self.weight_RD.to(weight_RD.dtype)


def _logits(hidden_CD: torch.Tensor, weight_RD: torch.Tensor, frozen_FD: torch.Tensor | None) -> torch.Tensor:
    logits_CR = hidden_CD @ weight_RD.T
    if frozen_FD is not None:
        logits_CR = torch.cat([hidden_CD @ frozen_FD.T, logits_CR], dim=1)
    return logits_CR.to(_at_least_fp32(logits_CR))


def _at_least_fp32(tensor: torch.Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _slope(logits_CV: torch.Tensor, labels_C: torch.Tensor, *, scale: float) -> torch.Tensor:
    """Derivative of scale x cross-entropy by the logits: (softmax - one-hot) x scale."""
    slope_CV = torch.softmax(logits_CV, dim=1)
    slope_CV[torch.arange(len(labels_C), device=labels_C.device), labels_C] -= 1
    return slope_CV.mul_(scale)


def _chunk_rows(positions: int, *, rows: int, minibatch_size: int | None) -> int:
    if minibatch_size is None:
        return max(positions, 1)
    return max(1, min(minibatch_size, LOGITS_BYTES // (4 * rows)))
