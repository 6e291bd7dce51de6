"""Ours as a stage builds it: real model, sharding, loss, optimizer and step; weights are drawn in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.tensor import DTensor

from onerec.config import Compute, Optim, Trainable
from onerec.model.build import build_model
from onerec.model.shard import build_mesh, shard
from onerec.train.loss import PackedLanguageModel
from onerec.train.optimizer import build_optimizer
from onerec.train.step import Outcome, Stepper, Wishes, count
from tests.benchmarks.gpu_rows.samples import SOURCES

if TYPE_CHECKING:
    from torch import nn

    from onerec.data.loading.batch import Pack
    from tests.benchmarks.gpu_rows.lab import Lab

OPTIM = Optim(learning_rate=1e-5, max_grad_norm=1.0)
STAGE_1 = Trainable(freeze_llm=True)


class Ours:
    """A model with its optimizer, trained by the real `Stepper`."""

    name = ""
    state_bytes = 0

    def __init__(
        self,
        lab: Lab,
        model: str,
        *,
        trainable: Trainable = Trainable(),  # noqa: B008 - frozen
        checkpointing: str | None = None,
        **compute: Any,
    ) -> None:
        self.config = lab.sizes.config(model)
        self.compute = Compute.model_validate(
            {
                "minibatch_size": lab.sizes.chunk,
                "activation_checkpointing": checkpointing or lab.checkpointing,
                **compute,
            }
        )
        self.device = lab.device
        self.lm = build_model(
            self.config,
            trainable=trainable,
            compute=self.compute,
            first_itemic_id=lab.sizes.first_itemic_id,
            device=lab.device,
        )
        self.model = PackedLanguageModel(self.lm, minibatch_size=self.compute.minibatch_size)
        mesh = build_mesh(lab.device, world_size=1, local_size=1)
        shard(self.model, self.lm, mesh=mesh, device=lab.device, compute=self.compute)
        draw_weights(self.lm)
        self.optimizer = build_optimizer(self.lm, optim=OPTIM)
        self.trained_rows = (
            self.config.vocab_size - lab.sizes.first_itemic_id if trainable.freeze_llm else None
        )
        self.stepper = Stepper(
            self.model,
            self.optimizer,
            max_grad_norm=OPTIM.max_grad_norm,
            num_sources=len(SOURCES),
            world_size=1,
            device=lab.device,
        )

    def step(self, pack: Pack) -> Outcome:
        """One step of one pack; nobody waits for it."""
        return self.stepper.take([pack], totals=count([pack], wishes=Wishes()))


@torch.no_grad()
def draw_weights(model: nn.Module) -> None:
    """Fill a model where it lies: norms with 1, all else from a normal as Qwen3 begins."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        local = parameter.to_local() if isinstance(parameter, DTensor) else parameter
        if name.endswith("norm.weight"):
            local.fill_(1.0)
        else:
            local.normal_(0.0, 0.02)


def stage_2(lab: Lab, model: str = "1.7B") -> Ours:
    """Ours with everything trained, as G1 has it."""
    made: Ours = lab.built(f"ours, {model}", lambda: Ours(lab, model))
    return made
