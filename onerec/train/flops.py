"""Floating-point operations that a step needs, and the peak of the GPU it runs on: the two sides of MFU.

Recomputation is not counted; padding is not counted. Source of the peaks: NVIDIA's data sheets, dense bf16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import Qwen3Config

PEAK_FLOP_PER_SECOND = {
    "H100": 989e12,
    "H200": 989e12,
    "H800": 989e12,
    "A100": 312e12,
    "A800": 312e12,
    "L40S": 362e12,
}


def peak_of(device_name: str) -> float | None:
    """Dense bf16 peak in FLOP/s of a GPU by its name; None for one that is not in the table."""
    return next((peak for name, peak in PEAK_FLOP_PER_SECOND.items() if name in device_name), None)


def decoder_matmul_parameters(config: Qwen3Config) -> int:
    """Weights of all decoder matrices."""
    heads = config.num_attention_heads + 2 * config.num_key_value_heads
    attention = config.hidden_size * config.head_dim * (heads + config.num_attention_heads)
    return config.num_hidden_layers * (attention + 3 * config.hidden_size * config.intermediate_size)


def step_flop(
    config: Qwen3Config, *, tokens: int, squared_lengths: int, trained_rows: int | None = None
) -> float:
    """FLOP of one forward and backward pass over `tokens` real tokens in documents of these squared lengths.

    6 per weight and token, and 12 x layers x heads x head width x half of the squared lengths for attention.
    `trained_rows` (stage 1): decoder and frozen rows need no weight gradient, which is a third of their work.
    """
    attention = (
        12 * config.num_hidden_layers * config.num_attention_heads * config.head_dim * squared_lengths / 2
    )
    decoder, head = decoder_matmul_parameters(config), config.vocab_size * config.hidden_size
    if trained_rows is None:
        return 6.0 * (decoder + head) * tokens + attention
    return (4.0 * (decoder + head) + 2.0 * trained_rows * config.hidden_size) * tokens + attention
