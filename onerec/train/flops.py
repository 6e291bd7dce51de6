"""Floating-point operations that a step needs, and the peak of the GPU it runs on: the two sides of MFU.

Recomputation is not counted; padding is not counted.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch

from onerec.progress import say

if TYPE_CHECKING:
    from transformers import Qwen3Config

    from onerec.distributed import World

PEAK_FLOP_PER_SECOND = {
    "GB200|GB300": 2500e12,
    "B200|B300": 2250e12,
    "(H100|H200|H800) NVL": 835e12,
    "(H100|H800) PCIe": 756e12,
    "H100|H200|H800|GH200": 989e12,
    "H20": 148e12,
    "A100|A800": 312e12,
    "A30": 165e12,
    "A40": 149.7e12,
    "A10": 125e12,
    "A10G": 70e12,
    "RTX A6000": 154.8e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "RTX 6000 Ada": 364.2e12,
    "RTX 3090": 71e12,
    "RTX 4090": 165.2e12,
    "RTX 5090": 209.5e12,
    "MI210": 181e12,
    "MI250": 181e12,
    "MI250X": 191.5e12,
    "MI300X|MI325X": 1307.4e12,
}
"""Dense bf16 with fp32 sums, by whole words of a device's name; the first that fits counts.

From the vendors' data sheets and, for RTX, architecture papers; where a sheet gives it with sparsity, half of
it. Of MI250 and MI250X, each half of the card is a device.
"""
OTHER_THAN_THE_CARD = re.compile(r"\b(MIG|GRID|Laptop|Max-Q|Ti|D)\b|/|-\d+[ABCQ]\b")
"""A slice of a GPU, or another GPU that has a name in it: what they reach is not in the table."""


def peak_of(device_name: str) -> float | None:
    """Dense bf16 peak in FLOP/s of a GPU by its name, as torch.cuda tells it; None when it is not known."""
    if OTHER_THAN_THE_CARD.search(device_name):
        return None
    fitting = (
        peak for name, peak in PEAK_FLOP_PER_SECOND.items() if re.search(rf"\b({name})\b", device_name)
    )
    return next(fitting, None)


def peak_of_ranks(device: torch.device, *, world: World) -> float | None:
    """Dense bf16 FLOP/s of all ranks; None, and told, for a GPU whose peak is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    peak = peak_of(name)
    if peak is None and world.is_main:
        say(f"the bf16 peak of {name!r} is not known, so no MFU is told")
    return None if peak is None else peak * world.size


def decoder_matmul_parameters(config: Qwen3Config) -> int:
    """Weights of all decoder matrices."""
    heads = config.num_attention_heads + 2 * config.num_key_value_heads
    attention = config.hidden_size * config.head_dim * (heads + config.num_attention_heads)
    return config.num_hidden_layers * (attention + 3 * config.hidden_size * config.intermediate_size)


def step_flop(
    config: Qwen3Config,
    *,
    tokens: int,
    trained_tokens: int,
    squared_lengths: int,
    trained_rows: int | None = None,
) -> float:
    """FLOP of one forward and backward pass over `tokens` real tokens in documents of these squared lengths.

    6 per token and weight of decoder and head, and 12 x layers x heads x head width x half of the squared
    lengths for attention. With `trained_rows` (stage 1) it is what that stage really needs: 4 per weight,
    since the gradient has to reach the embedding though none of these weights has one; the head only over
    `trained_tokens`, and 2 more for its rows that train. Embedding rows are looked up, not multiplied.
    """
    attention = (
        12 * config.num_hidden_layers * config.num_attention_heads * config.head_dim * squared_lengths / 2
    )
    decoder, head = decoder_matmul_parameters(config), config.vocab_size * config.hidden_size
    if trained_rows is None:
        return 6.0 * (decoder + head) * tokens + attention
    head_flop = (4.0 * head + 2.0 * trained_rows * config.hidden_size) * trained_tokens
    return 4.0 * decoder * tokens + head_flop + attention
