"""Causal attention inside each document of a packed row, for transformers' AttentionInterface.

No mask over the whole pack is ever built. Shapes: T tokens of a pack, H query heads, K key
heads, E head width.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

DOCUMENT_ATTENTION = "onerec_documents"


def register_document_attention() -> str:
    """Make the attention known to transformers; returns the name for `attn_implementation`.

    The name is not in transformers' mask registry, which is why models pass no attention mask to it.
    """
    # signatures are looked at here, because a compiled layer cannot
    flash = _build_flash() if torch.cuda.is_available() else None
    AttentionInterface.register(DOCUMENT_ATTENTION, partial(document_attention, flash=flash))
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
    flash: Callable[..., torch.Tensor] | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within documents: query 1HTE, key and value 1KTE, `cu_seqlens` their borders; returns 1THE.

    `flash` is used for the 16-bit formats that it knows; else each document is attended to by itself.

    Raises ValueError for a mask or for several rows: both would attend across documents.
    """
    if attention_mask is not None or query.shape[0] != 1:
        raise ValueError("document attention takes one packed row and no mask; use sdpa for padded batches")
    if flash is not None and query.dtype.itemsize == 2:
        return flash(query, key, value, cu_seqlens=cu_seqlens, max_seqlen=max_seqlen, scaling=scaling), None
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


def _build_flash() -> Callable[..., torch.Tensor]:
    """Flash attention over variable lengths with the arguments that this torch takes: 2.11 to 2.13 differ."""
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415 - absent from CPU-only builds

    known = frozenset(inspect.signature(varlen_attn).parameters)
    options: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    shares_heads, scales = "enable_gqa" in known, "scale" in known
    if shares_heads:
        options["enable_gqa"] = True

    def flash(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        cu_seqlens: torch.Tensor,
        max_seqlen: int,
        scaling: float | None,
    ) -> torch.Tensor:
        q_THE, k_TKE, v_TKE = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))
        if not shares_heads:
            repeats = q_THE.shape[1] // k_TKE.shape[1]
            k_TKE, v_TKE = (tensor.repeat_interleave(repeats, dim=1) for tensor in (k_TKE, v_TKE))
        if not scales and scaling is not None:
            q_THE = q_THE * (scaling * q_THE.shape[-1] ** 0.5)
        told = {**options, "scale": scaling} if scales else options
        out: torch.Tensor = varlen_attn(
            q_THE, k_TKE, v_TKE, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen, **told
        )
        return out[None]

    return flash
