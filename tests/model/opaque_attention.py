"""Document attention as one operator that no compiler sees into, as the varlen operator is on CUDA."""

import itertools

import torch
from transformers import AttentionInterface

from onerec.model.attention import DOCUMENT_ATTENTION

NAME = "onerec_tests::document_attention"


def register():
    """Give the models built before the opaque operator; building another gives the real one back."""
    AttentionInterface.register(DOCUMENT_ATTENTION, attend)


def attend(module, query, key, value, mask, *, cu_seqlens, max_seqlen, scaling, **_):
    """As the real attention is called."""
    return opaque(query, key, value, cu_seqlens, max_seqlen, scaling), None


@torch.library.custom_op(NAME, mutates_args=())
def opaque(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seqlens: torch.Tensor,
    max_seqlen: int,
    scaling: float,
) -> torch.Tensor:
    """1HTE, 1KTE, 1KTE to 1THE."""
    result = torch.zeros(query.shape)
    for document in documents(cu_seqlens):
        weights, _, values = weigh(query, key, value, document, scaling)
        result[:, :, document] = weights @ values
    return result.transpose(1, 2).to(query.dtype).contiguous()


@torch.library.custom_op(NAME + "_backward", mutates_args=())
def backward(
    upstream: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seqlens: torch.Tensor,
    scaling: float,
) -> list[torch.Tensor]:
    """Gradients of query, key and value."""
    gradients = [torch.zeros(tensor.shape) for tensor in (query, key, value)]
    groups = query.shape[1] // key.shape[1]
    for document in documents(cu_seqlens):
        weights, keys, values = weigh(query, key, value, document, scaling)
        above = upstream[:, document].transpose(1, 2).float()
        slope = above @ values.transpose(-1, -2)
        slope = weights * (slope - (slope * weights).sum(-1, keepdim=True)) * scaling
        gradients[0][:, :, document] = slope @ keys
        of_keys = slope.transpose(-1, -2) @ query[:, :, document].float()
        gradients[1][:, :, document] = of_keys.unflatten(1, (-1, groups)).sum(2)
        of_values = weights.transpose(-1, -2) @ above
        gradients[2][:, :, document] = of_values.unflatten(1, (-1, groups)).sum(2)
    return [gradient.to(query.dtype) for gradient in gradients]


def documents(cu_seqlens):
    return [slice(start, end) for start, end in itertools.pairwise(cu_seqlens.tolist())]


def weigh(query, key, value, document, scaling):
    """Attention weights of a document, its keys and its values, one of each for every query head."""
    groups = query.shape[1] // key.shape[1]
    keys, values = (each[:, :, document].repeat_interleave(groups, 1).float() for each in (key, value))
    scores = query[:, :, document].float() @ keys.transpose(-1, -2) * scaling
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(later, float("-inf")).softmax(-1), keys, values


@opaque.register_fake
def _(query, key, value, cu_seqlens, max_seqlen, scaling):
    return query.new_empty(query.transpose(1, 2).shape)


@backward.register_fake
def _(upstream, query, key, value, cu_seqlens, scaling):
    return [tensor.new_empty(tensor.shape) for tensor in (query, key, value)]


def remember(ctx, inputs, output):
    ctx.scaling = inputs[-1]
    ctx.save_for_backward(*inputs[:4])


def differentiate(ctx, upstream):
    return (*backward(upstream.contiguous(), *ctx.saved_tensors, ctx.scaling), None, None, None)


opaque.register_autograd(differentiate, setup_context=remember)
