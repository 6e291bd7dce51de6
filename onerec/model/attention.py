"""Causal attention inside each document of a packed row, for transformers' AttentionInterface.

No mask over the whole pack is ever built. Shapes: T tokens of a pack, H query heads, K key heads, E head
width.
"""

from __future__ import annotations

import inspect
import itertools
from functools import cache
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

DOCUMENT_ATTENTION = "onerec_documents"


def register_document_attention() -> str:
    """Make the attention known to transformers; returns the name for `attn_implementation`.

    The name is not in transformers' mask registry, which is why models pass no attention mask to it.
    """
    AttentionInterface.register(DOCUMENT_ATTENTION, document_attention)
    return DOCUMENT_ATTENTION


def document_attention(
    module: torch.nn.Module,  # noqa: ARG001 - transformers passes it first
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seqlens: torch.Tensor,
    max_seqlen: int,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within documents: query 1HTE, key and value 1KTE, `cu_seqlens` their borders; returns 1THE.

    Raises ValueError for a mask or for several rows: both would attend across documents.
    """
    if attention_mask is not None or query.shape[0] != 1:
        raise ValueError("document attention takes one packed row and no mask; use sdpa for padded batches")
    if query.is_cuda:
        return _flash(query, key, value, cu_seqlens=cu_seqlens, max_seqlen=max_seqlen, scaling=scaling), None
    return _per_document(query, key, value, borders=cu_seqlens.tolist(), scaling=scaling), None


def _per_document(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, borders: list[int], scaling: float | None
) -> torch.Tensor:
    lengths = [end - start for start, end in itertools.pairwise(borders)]
    pieces = [
        scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True)
        for q, k, v in zip(
            query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True
        )
    ]
    return torch.cat(pieces, dim=2).transpose(1, 2)


def _flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    cu_seqlens: torch.Tensor,
    max_seqlen: int,
    scaling: float | None,
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415 - absent from CPU-only builds

    options = _varlen_options()
    heads_per_key = query.shape[1] // key.shape[1]
    q_THE, k_TKE, v_TKE = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))
    if "enable_gqa" in options:
        kwargs: dict[str, Any] = {"enable_gqa": True}
    else:
        kwargs = {}
        k_TKE, v_TKE = (tensor.repeat_interleave(heads_per_key, dim=1) for tensor in (k_TKE, v_TKE))
    causal = {"window_size": (-1, 0)} if "window_size" in options else {"is_causal": True}
    if "scale" in options:
        kwargs["scale"] = scaling
    elif scaling is not None:
        q_THE = q_THE * (scaling * q_THE.shape[-1] ** 0.5)
    out_THE = varlen_attn(
        q_THE, k_TKE, v_TKE, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen, **causal, **kwargs
    )
    return out_THE[None]


@cache
def _varlen_options() -> frozenset[str]:
    """Names that this torch's varlen_attn takes: 2.11 to 2.13 differ."""
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415

    return frozenset(inspect.signature(varlen_attn).parameters)
