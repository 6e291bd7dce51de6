"""One optimizer step: forward and backward over this rank's packs, gradient clipping, update.

Losses and gradients are normalised by the trained tokens of all ranks and micro-steps together. Nothing here
waits for a GPU: what a step came to is read later, from its Outcome. T tokens of a pack, N trained positions,
S sources.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from onerec.distributed import agree
from onerec.train.losses import LossTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from onerec.data.loading.batch import Pack
    from onerec.train.loss import PackedLanguageModel, PackLoss


@dataclass(frozen=True)
class Wishes:
    """What a rank wants to happen after a step, beside what the number of the step says."""

    stop: bool = False
    """It was asked to stop."""
    save: bool = False
    """A checkpoint is due by the clock."""
    look: bool = False
    """The save on its way has failed."""

    @property
    def any(self) -> bool:
        """Whether anything is wanted."""
        return self.stop or self.save or self.look


@dataclass(frozen=True)
class Totals:
    """Counts of one step over all ranks, known before it runs."""

    trained_tokens: int
    tokens: int
    samples: int
    squared_lengths: int
    """Sum of the squared document lengths: what attention costs."""
    wishes: Wishes
    """Of any rank; all ranks know them in the same step."""


@dataclass(frozen=True)
class Figures:
    """What a step came to."""

    loss: float
    """Mean over the trained tokens of all ranks, in nats."""
    grad_norm: float
    """Norm of the gradient over all ranks, before clipping."""
    is_finite: bool
    """False: loss or gradient of some rank, in this step or one before, is NaN or infinite: no update."""
    pack_losses: tuple[float, ...]
    """Mean loss of each of this rank's packs; 0 where nothing is trained."""

    @property
    def bad_packs(self) -> tuple[int, ...]:
        """Which of this rank's packs have a loss that is not finite."""
        return tuple(number for number, loss in enumerate(self.pack_losses) if not math.isfinite(loss))


class Outcome:
    """What a step will have come to once the device has done it."""

    def __init__(self, losses: LossTable, told: torch.Tensor, *, trained_tokens: Sequence[int]) -> None:
        self.losses = losses
        self._trained_tokens = trained_tokens
        self._told, self._is_there = _on_its_way(told)

    def figures(self) -> Figures:
        """Wait until the device is done with the step, and read."""
        if self._is_there is not None:
            self._is_there.synchronize()
        bad, loss, norm, *sums = self._told.tolist()
        pairs = zip(sums, self._trained_tokens, strict=True)
        return Figures(loss, norm, bad == 0.0, tuple(total / max(tokens, 1) for total, tokens in pairs))


class Stepper:
    """Takes the steps of a stage. After one that is not finite, no update is made any more."""

    def __init__(
        self,
        model: PackedLanguageModel,
        optimizer: torch.optim.AdamW,
        *,
        max_grad_norm: float,
        num_sources: int,
        world_size: int,
        device: torch.device,
    ) -> None:
        self._model, self._optimizer = model, optimizer
        self._max_grad_norm, self._num_sources = max_grad_norm, num_sources
        self._world_size, self._device = world_size, device
        # on the device: the fused AdamW skips its update where this is 1, and nobody has to wait to decide
        self._is_bad = torch.zeros((), device=device)

    def take(self, packs: Sequence[Pack], *, totals: Totals) -> Outcome:
        """Forward, backward and, if everything is finite on every rank, update. All ranks call it."""
        # FSDP averages gradients over ranks; the loss is a sum over them
        scale = self._world_size / max(totals.trained_tokens, 1)
        table = LossTable(self._num_sources, device=self._device)
        sums = []
        for pack in packs:
            result = run_pack(self._model, pack, table=table, device=self._device, scale=scale)
            result.loss.backward()
            sums.append(result.losses_N.sum(dtype=torch.float64))
        norm = clip_gradients(self._model, max_norm=self._max_grad_norm)
        told = _judge(torch.stack(sums), norm, trained_tokens=totals.trained_tokens)
        self._is_bad = torch.maximum(self._is_bad, (told[0] > 0).float())
        told[0] = self._is_bad
        self._optimizer.found_inf = self._is_bad
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return Outcome(table, told, trained_tokens=[pack.trained_tokens for pack in packs])


def count(packs: Sequence[Pack], *, wishes: Wishes) -> Totals:
    """Totals of a step over all ranks; every rank calls it once per step."""
    lengths = [pack.cu_seqlens.diff().long() for pack in packs]
    mine = (
        sum(pack.trained_tokens for pack in packs),
        sum(pack.tokens for pack in packs),
        sum(pack.samples for pack in packs),
        sum(int((length * length).sum()) for length in lengths),
        wishes.stop,
        wishes.save,
        wishes.look,
    )
    trained_tokens, tokens, samples, squared_lengths, *wanted = agree(mine)
    return Totals(
        trained_tokens, tokens, samples, squared_lengths, Wishes(*(number > 0 for number in wanted))
    )


def run_pack(
    model: PackedLanguageModel, pack: Pack, *, table: LossTable, device: torch.device, scale: float
) -> PackLoss:
    """The forward pass over one pack; its losses are added to `table`."""
    result: PackLoss = model(
        moved(pack.input_ids_T, device),
        position_ids_T=moved(pack.position_ids_T, device),
        cu_seqlens=moved(pack.cu_seqlens, device),
        max_seqlen=rounded_up(pack.max_seqlen),
        trained_N=moved(pack.trained_N, device),
        labels_N=moved(pack.trained_labels_N, device),
        scale=scale,
    )
    table.add(result.losses_N.detach(), moved(pack.cells_N, device), pack.trained_S2)
    return result


def clip_gradients(model: nn.Module, *, max_norm: float) -> torch.Tensor:
    """Scale gradients to a norm over all ranks of at most `max_norm` (0: leave them); the norm before.

    Squares are added up in fp32 and more, whatever the gradients' format; each shard counts once.
    """
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    shards = [one.to_local() if isinstance(one, DTensor) else one for one in gradients]
    norms = torch._foreach_norm(shards, 2.0, dtype=torch.float32)  # noqa: SLF001 - as clip_grad_norm_ does
    squares = torch.stack(norms).double().square().sum()
    if isinstance(gradients[0], DTensor):
        dist.all_reduce(squares, group=_sharing_group(gradients[0]))
    norm = squares.sqrt()
    if max_norm > 0:
        torch._foreach_mul_(shards, (max_norm / (norm + 1e-6)).clamp(max=1.0).float())
    return norm


def _sharing_group(gradient: DTensor) -> dist.ProcessGroup:
    """The ranks that hold the shards of one copy; with HSDP other hosts hold the same."""
    dim = next(dim for dim, placement in enumerate(gradient.placements) if placement.is_shard())
    return gradient.device_mesh.get_group(dim)


def _judge(sums: torch.Tensor, norm: torch.Tensor, *, trained_tokens: int) -> torch.Tensor:
    """Bad ranks, mean loss and norm over all ranks, then the loss sums of this rank's packs; all in fp64."""
    is_bad = torch.logical_or(sums.isfinite().logical_not().any(), norm.isfinite().logical_not())
    over_all = torch.stack([is_bad.double(), sums.sum()])
    dist.all_reduce(over_all)
    over_all[1] /= max(trained_tokens, 1)
    return torch.cat([over_all, norm.double()[None], sums])


def _on_its_way(values: torch.Tensor) -> tuple[torch.Tensor, torch.cuda.Event | None]:
    """A copy for the host, and the event after which it is there (None: it is)."""
    if values.device.type != "cuda":
        return values, None
    copied = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    copied.copy_(values, non_blocking=True)
    is_there = torch.cuda.Event()
    is_there.record()
    return copied, is_there


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """On the device; through pinned memory, since a copy from any other makes the host wait."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def rounded_up(length: int) -> int:
    """The next power of two: should a compiled layer be made anew for a number, there are few of them."""
    return 1 << (length - 1).bit_length()
