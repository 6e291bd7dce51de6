"""The LM-head loss in chunks: at most `minibatch_size` rows of logits, gradients made in the same pass.

N trained positions, V vocabulary rows, F frozen rows, R trained rows, D width, C rows of a chunk.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from onerec.model.itemic_rows import SplitHead

LOGITS_BYTES = 700 << 20
"""Logits that exist at one time: 1,024 positions of 176,384 rows in fp32."""
TILE_ROWS = 128
"""Matrix products work in tiles; chunks larger than one are a multiple of it."""
ALIGNED_COLUMNS = 64
"""Where a part of the logits may start; 16 bytes are what products ask for, lines of caches are longer."""


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
        head = _Head(weight_RD, frozen_FD)
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


class _Head:
    """Frozen and trained rows side by side: the columns of the logits that are theirs.

    Trained columns start at an aligned one, since matrix products are slow from odd addresses; the gap before
    them has a probability of zero.
    """

    def __init__(self, weight_RD: torch.Tensor, frozen_FD: torch.Tensor | None) -> None:
        self.weight_RD = weight_RD
        self._frozen = 0 if frozen_FD is None else frozen_FD.shape[0]
        first = -(-self._frozen // ALIGNED_COLUMNS) * ALIGNED_COLUMNS
        self.trained = slice(first, first + weight_RD.shape[0])
        self.columns = self.trained.stop
        self.parts = [(self.trained, weight_RD)]
        if frozen_FD is not None:
            self.parts.insert(0, (slice(0, self._frozen), frozen_FD))

    def columns_of(self, labels_N: torch.Tensor) -> torch.Tensor:
        """Column of each label's logit."""
        gap = self.trained.start - self._frozen
        return labels_N + (labels_N >= self._frozen) * gap if gap else labels_N

    def logits(self, hidden_CD: torch.Tensor, *, out_CV: torch.Tensor) -> None:
        """All logits of a chunk, written to `out_CV`."""
        for columns, rows in self.parts:
            _multiply(hidden_CD, rows.T, out=out_CV[:, columns])
        out_CV[:, self._frozen : self.trained.start] = -torch.inf


def _losses(
    hidden_ND: torch.Tensor,
    labels_N: torch.Tensor,
    head: _Head,
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
        self, hidden_ND: torch.Tensor, head: _Head, *, scale: float, hidden: bool, weight: bool
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
                _multiply(slope_CV[:, columns], rows, out=sum_CD, times=self._scale, add=part > 0)
            self._hidden_ND[chunk] = sum_CD
        if self._weight_RD is not None:
            slope_RC = slope_CV[:, self._head.trained].T
            inputs_CD = self._inputs_ND[chunk]
            _multiply(slope_RC, inputs_CD, out=self._weight_RD, times=self._scale, add=chunk.start > 0)

    def finished(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """The two gradients in the formats of what they belong to."""
        weight_RD, self._weight_RD = self._weight_RD, None
        return self._hidden_ND, None if weight_RD is None else weight_RD.to(self._head.weight_RD.dtype)


def _multiply(
    left: torch.Tensor, right: torch.Tensor, *, out: torch.Tensor, times: float = 1.0, add: bool = False
) -> None:
    """`times` x left @ right, summed in the format of `out`: written to it, or added."""
    if left.dtype == out.dtype:
        out.addmm_(left, right, beta=int(add), alpha=times)
    elif _multiplies_into_fp32(left.device, left.dtype):
        torch.addmm(out, left, right, out_dtype=out.dtype, beta=int(add), alpha=times, out=out)
    else:
        out.addmm_(left.to(out.dtype), right.to(out.dtype), beta=int(add), alpha=times)


@functools.cache
def _multiplies_into_fp32(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this torch multiplies matrices of 16 bits into fp32 there; on CUDA it does from 2.8 on."""
    ones = torch.ones(16, 16, device=device, dtype=dtype)
    total = torch.ones(16, 16, device=device)
    try:
        torch.addmm(total, ones, ones, out_dtype=torch.float32, out=total)
    except (RuntimeError, TypeError):
        return False
    return bool((total == 17).all())


def _at_least_fp32(tensor: torch.Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
