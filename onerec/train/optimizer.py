"""AdamW over the parameters that train, and its state as named tensors.

Weight decay goes by the type of the module that owns a parameter, never by its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Collection

    from onerec.config import Optim

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class TrainedGroup:
    """The parameters that train of all modules of one type, by name."""

    module_type: str
    decays: bool
    parameters: dict[str, nn.Parameter]


def trained_groups(model: nn.Module) -> list[TrainedGroup]:
    """Parameters that train of a transformers model, by the type of their module, in the order of the model.

    Matrices of linear layers decay; biases, norms, embeddings, itemic rows and the head do not. A parameter
    of several modules belongs to the first.
    """
    head = model.get_output_embeddings()
    groups: dict[tuple[str, bool], dict[str, nn.Parameter]] = {}
    seen: set[int] = set()
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                decays = isinstance(module, nn.Linear) and module is not head and parameter.ndim == 2
                kind = type(module).__name__ + (" (head)" if module is head else "")
                groups.setdefault((kind, decays), {})[f"{path}.{name}" if path else name] = parameter
    found = [TrainedGroup(kind, decays, parameters) for (kind, decays), parameters in groups.items()]
    _check_complete(model, found)
    return found


def _check_complete(model: nn.Module, groups: list[TrainedGroup]) -> None:
    """An optimizer that lacks a parameter would leave it as it is without a word."""
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    grouped = [name for group in groups for name in group.parameters]
    assert sorted(grouped) == sorted(trained), f"no group or several: {sorted(trained ^ set(grouped))}"


def build_optimizer(model: nn.Module, *, optim: Optim) -> torch.optim.AdamW:
    """Fused AdamW with its moments already there, so that a checkpoint can be read into them."""
    groups = trained_groups(model)
    decaying, rest = (
        [parameter for group in groups if group.decays is decays for parameter in group.parameters.values()]
        for decays in (True, False)
    )
    told = [
        {"params": decaying, "weight_decay": optim.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        [group for group in told if group["params"]],
        lr=optim.learning_rate,
        betas=(optim.beta1, optim.beta2),
        eps=optim.adam_epsilon,
        fused=True,
    )
    for parameter in (*decaying, *rest):
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
    """A table for people: tensors, parameters and weight decay by type of module, and what is frozen."""
    rows = [("trained in", "tensors", "parameters", "weight decay")]
    for group in trained_groups(model):
        decay = optim.weight_decay if group.decays else 0.0
        rows.append((group.module_type, *_sizes(group.parameters.values()), f"{decay:g}"))
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    if frozen:
        rows.append(("frozen", *_sizes(frozen), ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def _sizes(parameters: Collection[nn.Parameter]) -> tuple[str, str]:
    return f"{len(parameters):,}", f"{sum(parameter.numel() for parameter in parameters):,}"


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    name, *numbers = row
    cells = [name.ljust(widths[0]), *map(str.rjust, numbers, widths[1:])]
    return "  ".join(cells).rstrip()
