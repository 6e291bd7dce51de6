"""Activation checkpointing of decoder layers: what the backward pass keeps and what it computes again.

A layer's `forward` is replaced, never wrapped in a module: names of parameters stay the model's own, and
FSDP2's hooks and torch.compile stay outside, the order that torchtitan found to work. Eager layers give the
same bits in every mode, compiled ones the same but for rounding.
"""

from __future__ import annotations

from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from onerec.config.memory import Mode

PRODUCTS = frozenset({"aten::mm", "aten::addmm"})
"""Matrix products with weights; products of activations with each other would keep T x T scores."""
ATTENTION = frozenset(
    {
        "torch_attn::_varlen_attn",
        "aten::_flash_attention_forward",
        "aten::_scaled_dot_product_flash_attention",
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "aten::_scaled_dot_product_efficient_attention",
        "aten::_scaled_dot_product_cudnn_attention",
        "aten::_scaled_dot_product_fused_attention_overrideable",
    }
)
"""Fused attention of torch 2.11 to 2.13: variable lengths on CUDA, and what SDPA chooses from."""


def checkpoint_layers(model: nn.Module, mode: Mode) -> None:
    """Make each decoder layer of a Qwen3ForCausalLM keep for the backward pass what `mode` says.

    none keeps all that autograd wants; selective keeps matrix products and attention, and recomputes norms,
    rotary embeddings and activation functions; full keeps a layer's input and recomputes the layer.
    Call it before torch.compile and fully_shard. Layers must be free of randomness: no dropout.
    """
    if mode == "none":
        return
    for layer in model.get_submodule("model.layers").children():
        # the same functions for all layers, reading nothing that differs: they share one compiled forward
        layer.forward = MethodType(_FORWARDS[mode], layer)


def _full(layer: nn.Module, hidden_1TD: torch.Tensor, **kwargs: Any) -> torch.Tensor:
    out_1TD: torch.Tensor = checkpoint(
        partial(type(layer).forward, layer),
        hidden_1TD,
        use_reentrant=False,
        preserve_rng_state=False,
        **kwargs,
    )
    return out_1TD


def _selective(layer: nn.Module, hidden_1TD: torch.Tensor, **kwargs: Any) -> torch.Tensor:
    contexts = partial(_selective_contexts, layer.get_submodule("mlp").intermediate_size)
    return _full(layer, hidden_1TD, context_fn=contexts, **kwargs)


_FORWARDS: dict[str, Callable[..., torch.Tensor]] = {"full": _full, "selective": _selective}


def _selective_contexts(feed_forward: int) -> Any:
    return create_selective_checkpoint_contexts(partial(keeps, feed_forward))


def keeps(feed_forward: int, _context: object, op: Any, *args: Any, **_kwargs: Any) -> CheckpointPolicy:
    """Whether an operator's result is kept; decided by operator and shapes alone, as torch 2.11 asks twice.

    The product that reads the `feed_forward` columns is the layer's last: no gradient needs its result.
    """
    name = op.name().partition(".")[0]
    if name in ATTENTION or (name in PRODUCTS and not _reads(feed_forward, args)):
        return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE


def _reads(width: int, operands: tuple[Any, ...]) -> bool:
    """Whether a product sums over `width` columns: of (a, b), or of (bias, a, b)."""
    return bool(operands[-2].shape[-1] == width)
