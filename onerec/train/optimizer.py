"""AdamW over the parameters that train, and its state as named tensors.

Weight decay goes by the type of the module that owns a parameter, never by its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from onerec.config import Optim

MOMENTS = ("exp_avg", "exp_avg_sq")


def decay_groups(model: nn.Module) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """Parameters that train, by name: (those that decay, those that do not).

    Matrices of linear layers decay; norms, biases, embeddings, itemic rows and the head do not.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    decaying = {
        f"{path}.weight"
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear) and not path.endswith("lm_head")
    }
    decay = {name: parameter for name, parameter in trained.items() if name in decaying}
    return decay, {name: parameter for name, parameter in trained.items() if name not in decaying}


def build_optimizer(model: nn.Module, *, optim: Optim) -> torch.optim.AdamW:
    """Fused AdamW with its moments already there, so that a checkpoint can be read into them."""
    decay, rest = decay_groups(model)
    groups = [
        {"params": list(decay.values()), "weight_decay": optim.weight_decay},
        {"params": list(rest.values()), "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=optim.learning_rate,
        betas=(optim.beta1, optim.beta2),
        eps=optim.adam_epsilon,
        fused=True,
    )
    for parameter in (*decay.values(), *rest.values()):
        optimizer.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            **{moment: torch.zeros_like(parameter) for moment in MOMENTS},
        }
    return optimizer


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.AdamW) -> dict[str, torch.Tensor]:
    """The moments under `<parameter>.exp_avg` and `<parameter>.exp_avg_sq`; sharded like the parameters."""
    return {
        f"{name}.{moment}": optimizer.state[parameter][moment]
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        for moment in MOMENTS
    }


def set_step_count(optimizer: torch.optim.AdamW, step: int) -> None:
    """Tell AdamW how many updates its moments have seen; its bias correction depends on it."""
    for state in optimizer.state.values():
        state["step"].fill_(float(step))


def set_learning_rate(optimizer: torch.optim.AdamW, rate: float) -> None:
    """Use `rate` from the next update on."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def describe_groups(model: nn.Module, optim: Optim) -> str:
    """One line for people: how many parameters decay, how many do not, how many are frozen."""
    decay, rest = decay_groups(model)
    frozen = sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
    return (
        f"parameters: {_count(decay):,} with weight decay {optim.weight_decay:g}, "
        f"{_count(rest):,} without, {frozen:,} frozen"
    )


def _count(parameters: dict[str, nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters.values())
