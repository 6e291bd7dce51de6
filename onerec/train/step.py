"""One optimizer step: forward and backward over this rank's packs, gradient clipping, update.

Losses and gradients are normalised by the trained tokens of all ranks and micro-steps together. T tokens of a
pack, N trained positions, S sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.distributed.tensor import DTensor

from onerec.distributed import agree
from onerec.train.losses import LossTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from onerec.data.loading.load import Pack
    from onerec.train.loss import PackedLanguageModel, PackLoss
    from onerec.vocab import ItemicVocab


@dataclass(frozen=True)
class Totals:
    """Counts of one step over all ranks, known before it runs."""

    trained_tokens: int
    tokens: int
    samples: int
    squared_lengths: int
    """Sum of the squared document lengths: what attention costs."""
    stop: bool
    """Whether rank 0 was asked to stop; all ranks know it in the same step."""


@dataclass(frozen=True)
class Outcome:
    """What a step did on this rank."""

    losses: LossTable
    grad_norm: float
    """Norm of the gradient over all ranks, before clipping."""
    is_finite: bool
    """False: loss or gradient of some rank is NaN or infinite, and the update was not made."""
    bad_packs: tuple[int, ...]
    """Which of this rank's packs have a loss that is not finite."""


def count(packs: Sequence[Pack], *, stop: bool) -> Totals:
    """Totals of a step over all ranks; every rank calls it once per step."""
    lengths = [pack.cu_seqlens.diff().long() for pack in packs]
    mine = (
        sum(pack.trained_tokens for pack in packs),
        sum(pack.tokens for pack in packs),
        sum(pack.samples for pack in packs),
        sum(int((length * length).sum()) for length in lengths),
        int(stop),
    )
    trained_tokens, tokens, samples, squared_lengths, stops = agree(mine)
    return Totals(trained_tokens, tokens, samples, squared_lengths, stops > 0)


def take(
    model: PackedLanguageModel,
    optimizer: torch.optim.AdamW,
    packs: Sequence[Pack],
    *,
    totals: Totals,
    vocab: ItemicVocab,
    num_sources: int,
    max_grad_norm: float,
    world_size: int,
    device: torch.device,
) -> Outcome:
    """Forward, backward and, if everything is finite on every rank, update. All ranks call it together."""
    # FSDP averages gradients over ranks; the loss is a sum over them
    scale = world_size / max(totals.trained_tokens, 1)
    table = LossTable(num_sources, device=device)
    sums = []
    for pack in packs:
        result = run_pack(model, pack, table=table, vocab=vocab, device=device, scale=scale)
        result.loss.backward()
        sums.append(result.losses_N.sum())
    norm = clip_gradients(model, max_norm=max_grad_norm)
    bad_packs = tuple(number for number, total in enumerate(sums) if not torch.isfinite(total))
    is_finite = agree([int(not torch.isfinite(norm) or bool(bad_packs))]) == [0]
    if is_finite:
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return Outcome(table, float(norm), is_finite, bad_packs)


def run_pack(
    model: PackedLanguageModel,
    pack: Pack,
    *,
    table: LossTable,
    vocab: ItemicVocab,
    device: torch.device,
    scale: float,
) -> PackLoss:
    """The forward pass over one pack; its losses are added to `table`."""
    cells_N = cells_of(pack, vocab=vocab)
    result = model(
        pack.input_ids_T.to(device, non_blocking=True),
        position_ids_T=pack.position_ids_T.to(device, non_blocking=True),
        cu_seqlens=pack.cu_seqlens.to(device, non_blocking=True),
        max_seqlen=_rounded_up(pack.max_seqlen),
        trained_N=pack.trained_N.to(device, non_blocking=True),
        labels_N=pack.trained_labels_N.to(device, non_blocking=True),
        scale=scale,
    )
    table.add(result.losses_N.detach(), cells_N)
    return result


def _rounded_up(length: int) -> int:
    """The next power of two: a compiled layer is built anew for every other number it is called with."""
    return 1 << (length - 1).bit_length()


def clip_gradients(model: nn.Module, *, max_norm: float) -> torch.Tensor:
    """Scale gradients to a norm over all ranks of at most `max_norm` (0: leave them); the norm before."""
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(
        [parameter.grad for parameter in parameters if parameter.grad is not None]
    )
    whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
    if max_norm > 0:
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, whole)
    return whole


def cells_of(pack: Pack, *, vocab: ItemicVocab) -> torch.Tensor:
    """The cell of a LossTable, 2 x source + is itemic, of each trained position of a pack; shape N."""
    labels_N = pack.trained_labels_N
    is_itemic_N = (labels_N >= vocab.first_id).logical_and_(labels_N <= vocab.last_id)
    return torch.add(is_itemic_N, pack.trained_sources_N, alpha=2)
