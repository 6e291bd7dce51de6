"""Evaluate the model on packs that are never trained on: the loss by source and by itemic or text target.

Nothing of the training changes by it: no gradient, no random number, no position in the training data.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.fsdp import FSDPModule

from onerec.train.losses import LossTable, mean_losses
from onerec.train.step import run_pack

if TYPE_CHECKING:
    from collections.abc import Callable

    from onerec.data.loading.validation import ValidationPacks
    from onerec.train.loss import PackedLanguageModel


def is_due(step: int, *, every: int, last_step: int) -> bool:
    """Whether an evaluation follows this step: every so many, and after the last one."""
    return step % every == 0 or step == last_step


def evaluate(
    model: PackedLanguageModel,
    packs: ValidationPacks,
    *,
    device: torch.device,
    step: int,
    on_pack: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """The row of validation.jsonl after `step` steps, losses in nats per token; all ranks call it.

    `on_pack` is called before each pack.
    """
    began = time.monotonic()
    table = LossTable(len(packs.sources), device=device)
    model.eval()
    with torch.no_grad():
        for pack in packs:
            on_pack()
            run_pack(model, pack, table=table, device=device, scale=1.0)
    model.train()
    reshard(model)
    losses = mean_losses(table, sources=packs.sources)
    return {
        "step": step,
        "loss": losses.loss,
        "itemic_loss": losses.itemic,
        "text_loss": losses.text,
        "source_loss": losses.by_source,
        "trained_tokens": losses.trained_tokens,
        "samples": packs.samples,
        "packs": packs.total_packs,
        "seconds": time.monotonic() - began,
        "time": time.time(),
    }


def reshard(model: PackedLanguageModel) -> None:
    """Give gathered weights back: no backward pass does it for the root, and a checkpoint would see them."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
