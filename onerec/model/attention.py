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
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

DOCUMENT_ATTENTION = "onerec_documents"
FLASH_CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001 - SDPA's own kernel
FLASH_CPU_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward  # noqa: SLF001


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
    if flash is not None and query.is_cuda and query.dtype.itemsize == 2:
        return flash(query, key, value, cu_seqlens=cu_seqlens, max_seqlen=max_seqlen, scaling=scaling), None
    return _per_document(query, key, value, borders=cu_seqlens.tolist(), scaling=scaling), None


@torch.compiler.disable  # it would be compiled anew for every number of documents
def _per_document(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, borders: list[int], scaling: float | None
) -> torch.Tensor:
    if query.device.type == "cpu":
        out_1THE: torch.Tensor = _CpuDocuments.apply(query, key, value, borders, scaling)
        return out_1THE
    lengths = [end - start for start, end in itertools.pairwise(borders)]
    pieces = [
        scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True)
        for q, k, v in zip(
            query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True
        )
    ]
    return torch.cat(pieces, dim=2).transpose(1, 2)


class _CpuDocuments(torch.autograd.Function):
    """SDPA's own kernel for the CPU on one document after the other, results written side by side.

    Through SDPA and `cat`, output and gradients would exist twice.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        borders: list[int],
        scaling: float | None,
    ) -> torch.Tensor:
        out_1THE = query.new_empty(query.transpose(1, 2).shape)
        documents, exponents = _slices(borders), []
        for document in documents:
            q, k, v = (tensor[:, :, document] for tensor in (query, key, value))
            piece, exponent = FLASH_CPU(q, k, v, 0.0, is_causal=True, scale=scaling)
            out_1THE[:, document] = piece.transpose(1, 2)
            exponents.append(exponent)
        ctx.documents, ctx.scaling = documents, scaling
        ctx.save_for_backward(query, key, value, out_1THE, *exponents)
        return out_1THE

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_1THE: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, out_1THE, *exponents = ctx.saved_tensors
        inputs = query, key, value
        gradients = [torch.empty_like(tensor) for tensor in inputs]
        slope, out = slope_1THE.transpose(1, 2), out_1THE.transpose(1, 2)
        for document, exponent in zip(ctx.documents, exponents, strict=True):
            slope_D, *given, out_D = (tensor[:, :, document] for tensor in (slope, *inputs, out))
            pieces = FLASH_CPU_BACKWARD(
                slope_D, *given, out_D, exponent, 0.0, is_causal=True, scale=ctx.scaling
            )
            for gradient, piece in zip(gradients, pieces, strict=True):
                gradient[:, :, document] = piece
        return *gradients, None, None


def _slices(borders: list[int]) -> list[slice]:
    """Where documents lie, without empty ones."""
    return [slice(start, end) for start, end in itertools.pairwise(borders) if end > start]


def _build_flash() -> Callable[..., torch.Tensor]:
    """Flash attention over variable lengths with the arguments that this torch takes: 2.11 to 2.13 differ."""
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415 - absent from CPU-only builds

    known = frozenset(inspect.signature(varlen_attn).parameters)
    options: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    if "enable_gqa" in known:
        options["enable_gqa"] = True
    attend = partial(varlen_attn, **options)
    scales, shares_heads = "scale" in known, shares_key_heads(attend, device=torch.device("cuda"))

    def flash(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        cu_seqlens: torch.Tensor,
        max_seqlen: int,
        scaling: float | None,
    ) -> torch.Tensor:
        # rotated heads come in this order already, so that nothing is copied; a compiled layer is told so
        q_THE, k_TKE, v_TKE = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))
        if not shares_heads:
            repeats = q_THE.shape[1] // k_TKE.shape[1]
            k_TKE, v_TKE = (tensor.repeat_interleave(repeats, dim=1) for tensor in (k_TKE, v_TKE))
        if not scales and scaling is not None:
            q_THE = q_THE * (scaling * q_THE.shape[-1] ** 0.5)
        told = {"scale": scaling} if scales else {}
        out: torch.Tensor = attend(
            q_THE, k_TKE, v_TKE, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen, **told
        )
        return out[None]

    return flash


def shares_key_heads(attend: Callable[..., torch.Tensor], *, device: torch.device) -> bool:
    """Whether `attend` gives query heads of one key head the output and gradients of repeated key heads.

    torch 2.11's varlen_attn has the kernel for it but no argument that says so; repeating would keep keys and
    values once for every query head.
    """
    generator = torch.Generator().manual_seed(0)
    q_THE, k_TKE, v_TKE, slope_THE = (
        torch.randn(16, heads, 64, generator=generator).to(device, torch.bfloat16) for heads in (2, 1, 1, 2)
    )
    borders = torch.tensor([0, 5, 16], device=device, dtype=torch.int32)

    def results(repeats: int) -> list[torch.Tensor]:
        leaves = [tensor.clone().requires_grad_() for tensor in (q_THE, k_TKE, v_TKE)]
        keys, values = (
            leaf.repeat_interleave(repeats, dim=1) if repeats > 1 else leaf for leaf in leaves[1:]
        )
        out_THE = attend(leaves[0], keys, values, borders, borders, 16, 16)
        return [out_THE, *torch.autograd.grad(out_THE, leaves, slope_THE)]

    try:
        shared = results(1)
    except (RuntimeError, ValueError):
        return False
    pairs = zip(shared, results(2), strict=True)
    return all(torch.allclose(ours, repeated, rtol=0.05, atol=0.05) for ours, repeated in pairs)
