"""The reference's way: transformers' Qwen3 under FSDP2, whole layers recomputed, full logits in fp32 chunks.

At its best setting: fused AdamW, gradients accumulated by nothing but autograd, no reading of the loss. Its
attention is flash-attn's if that is installed, else torch's own flash kernel over the same documents, as it
needs one that knows borders. Every position has logits, trained or not, and the head's weight gradients of
the chunks are added up in the compute dtype.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn import functional
from transformers import Qwen3ForCausalLM

from onerec.config import Compute
from onerec.model.attention import register_document_attention
from onerec.model.shard import compute_dtype
from tests.benchmarks.gpu_rows.ours import OPTIM

if TYPE_CHECKING:
    from onerec.data.loading.batch import Pack
    from tests.benchmarks.gpu_rows.lab import Lab


class FullLogits(torch.autograd.Function):
    """Cross-entropy of all rows, `chunk` at a time: each chunk's gradients are made by autograd at once."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_TD: torch.Tensor,
        weight_VD: torch.Tensor,
        labels_T: torch.Tensor,
        chunk: int,
        scale: float,
    ) -> torch.Tensor:
        hidden_gradients, weight_gradient = [], torch.zeros_like(weight_VD)
        total = hidden_TD.new_zeros((), dtype=torch.float32)
        for hidden_CD, labels_C in zip(hidden_TD.split(chunk), labels_T.split(chunk), strict=True):
            with torch.enable_grad():
                hidden, weight = (leaf.detach().requires_grad_() for leaf in (hidden_CD, weight_VD))
                logits_CV = functional.linear(hidden, weight).float()
                loss = (
                    functional.cross_entropy(logits_CV, labels_C, ignore_index=-100, reduction="sum") * scale
                )
            hidden_gradient, chunk_gradient = torch.autograd.grad(loss, (hidden, weight))
            hidden_gradients.append(hidden_gradient)
            weight_gradient += chunk_gradient
            total += loss.detach()
        ctx.save_for_backward(torch.cat(hidden_gradients), weight_gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        return hidden_gradient * upstream[0], weight_gradient * upstream[0], None, None, None


def attention() -> str:
    """The best attention over documents that transformers can be given here."""
    if torch.cuda.is_available() and importlib.util.find_spec("flash_attn") is not None:
        return "flash_attention_2"
    return register_document_attention()


class _WithLoss(nn.Module):
    """Model and loss in one forward, so that FSDP2 gathers the head for it."""

    def __init__(self, lm: Qwen3ForCausalLM, chunk: int) -> None:
        super().__init__()
        self.lm, self._chunk = lm, chunk

    def forward(self, pack: dict[str, Any], scale: float) -> torch.Tensor:
        labels_T = pack.pop("labels_T")
        hidden_TD = self.lm.model(**pack, use_cache=False).last_hidden_state[0]
        loss: torch.Tensor = FullLogits.apply(hidden_TD, self.lm.lm_head.weight, labels_T, self._chunk, scale)
        return loss


class Reference:
    """The reference's model, optimizer and step; with `only_rows_from`, its stage 1."""

    name = ""
    state_bytes = 0

    def __init__(self, lab: Lab, model: str, *, only_rows_from: int | None = None) -> None:
        self.device = lab.device
        config = lab.sizes.config(model)
        config._attn_implementation = attention()
        torch.manual_seed(0)
        with lab.device:
            lm = Qwen3ForCausalLM(config)
        lm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        lm.train()
        table = lm.model.embed_tokens.weight
        if only_rows_from is not None:
            lm.requires_grad_(False)
            table.requires_grad_(True)
        self.model = _sharded(_WithLoss(lm, lab.sizes.chunk), lm, lab.device)
        self.trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trained, lr=OPTIM.learning_rate, betas=(OPTIM.beta1, OPTIM.beta2), fused=True
        )
        self._table_VD = _local(lm.model.embed_tokens.weight)
        self._frozen_FD = self._table_VD[:only_rows_from].clone() if only_rows_from is not None else None

    def step(self, pack: Pack) -> torch.Tensor:
        """One step of one pack; the loss on the device."""
        there = {
            "input_ids": pack.input_ids_T[None],
            "position_ids": pack.position_ids_T[None],
            "cu_seqlens": pack.cu_seqlens,
            "labels_T": pack.labels_T,
        }
        moved: dict[str, Any] = {name: tensor.to(self.device) for name, tensor in there.items()}
        loss: torch.Tensor = self.model({**moved, "max_seqlen": pack.max_seqlen}, 1 / pack.trained_tokens)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, OPTIM.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self._frozen_FD is not None:
            with torch.no_grad():
                self._table_VD[: len(self._frozen_FD)].copy_(self._frozen_FD)
        return loss.detach()


def _sharded(model: _WithLoss, lm: Qwen3ForCausalLM, device: torch.device) -> _WithLoss:
    dtype = compute_dtype(Compute(), device)
    policy = MixedPrecisionPolicy(dtype, torch.float32, cast_forward_inputs=False)
    mesh = init_device_mesh(device.type, (1,))
    for layer in lm.model.layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
    return model


def _local(parameter: torch.Tensor) -> torch.Tensor:
    return parameter.detach().to_local() if isinstance(parameter, DTensor) else parameter.detach()


def stage_2(lab: Lab) -> Reference:
    """The reference with everything trained."""
    made: Reference = lab.built("the reference's way", lambda: Reference(lab, "1.7B"))
    return made
