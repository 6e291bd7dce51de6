"""A small Qwen3 of ours with weights, and packs of documents for it."""

import itertools
from dataclasses import dataclass

import torch
from torch.distributed.tensor import DTensor
from transformers import Qwen3Config

from onerec.config import Compute, Trainable
from onerec.model.build import build_model

ROWS = 96
CONFIG = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 160,
    "vocab_size": ROWS,
    "max_position_embeddings": 2048,
}


def build(*, dtype=torch.float32, frozen=False, layers=3, **compute):
    """A model with seeded weights of one number format, on the CPU."""
    model = build_model(
        Qwen3Config(**{**CONFIG, "num_hidden_layers": layers}),
        trainable=Trainable(freeze_llm=frozen),
        compute=Compute(**compute),
        first_itemic_id=ROWS // 2,
    )
    return Body(fill(model.to_empty(device="cpu")).to(dtype))


def fill(model):
    """Seeded weights, and the rotary buffers that an emptied model has lost; sharded over one rank."""
    model.model.rotary_emb = type(model.model.rotary_emb)(config=model.config)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            whole = torch.empty(parameter.shape).normal_(0, 0.05, generator=generator)
            (parameter.to_local() if isinstance(parameter, DTensor) else parameter).copy_(whole)
    return model


def pack(*lengths):
    """Arguments of a forward pass over documents of these lengths."""
    generator = torch.Generator().manual_seed(sum(lengths))
    return {
        "input_ids": torch.randint(0, ROWS, (1, sum(lengths)), generator=generator),
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "cu_seqlens": torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32),
        "max_seqlen": max(lengths),
        "use_cache": False,
    }


class Body(torch.nn.Module):
    """The model up to its last hidden state, as the root of its FSDP groups."""

    def __init__(self, lm):
        super().__init__()
        self.lm = lm

    def forward(self, **arguments):
        return self.lm.model(**arguments).last_hidden_state


@dataclass(frozen=True)
class Passed:
    """A forward and backward pass."""

    loss: float
    gradients: dict[str, torch.Tensor]


def loss_of(body, arguments):
    """A loss that weighs every column of the last hidden state otherwise."""
    hidden = body(**arguments)
    return (hidden.float() * torch.linspace(-1, 1, hidden.shape[-1])).sum()


def forward_backward(body, arguments):
    """Loss, and whole gradients by name."""
    body.zero_grad()
    loss = loss_of(body, arguments)
    loss.backward()
    gradients = {name: each.grad for name, each in body.lm.named_parameters() if each.grad is not None}
    return Passed(
        loss.item(),
        {
            name: each.full_tensor() if isinstance(each, DTensor) else each.clone()
            for name, each in gradients.items()
        },
    )
