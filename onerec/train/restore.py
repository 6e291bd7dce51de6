"""The tensors of a stage's state by name, and how they are filled from a checkpoint.

Only parameters that train are among them: frozen ones are in the folder that the stage started from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onerec.checkpoint import commit
from onerec.checkpoint.state import restore_rng
from onerec.checkpoint.tensors import read, told_as_storage
from onerec.train.optimizer import optimizer_tensors, set_step_count

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn


def state_tensors(model: nn.Module, optimizer: torch.optim.AdamW) -> dict[str, dict[str, torch.Tensor]]:
    """What a checkpoint holds, by the folder that it is written to: `model` and `optimizer`."""
    return {"model": trained_tensors(model), "optimizer": optimizer_tensors(model, optimizer)}


def trained_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters that train, under the names that checkpoints use."""
    return {
        name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad
    }


def restore(checkpoint: Path, *, model: nn.Module, optimizer: torch.optim.AdamW | None, step: int) -> None:
    """Read weights, and moments if an optimizer is given, into tensors sharded anyhow; all ranks call it.

    Raises ConfigError when the checkpoint trains other parameters than this stage, StorageError when it is
    unreadable.
    """
    folder = commit.data_dir(checkpoint)
    with told_as_storage(checkpoint):
        read(trained_tensors(model), folder / "model", whose=str(checkpoint))
        if optimizer is not None:
            read(optimizer_tensors(model, optimizer), folder / "optimizer", whose=str(checkpoint))
            set_step_count(optimizer, step)
            restore_rng(checkpoint)
