"""Attention as the device has it, in bf16: what each document gets alone, and nothing of its neighbours."""

import itertools

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from onerec.model.attention import register_document_attention

LENGTHS = (70, 1, 300, 29, 128)
LONGEST = max(LENGTHS)
HEADS, KEY_HEADS, WIDTH = 4, 2, 64
BORDERS = torch.tensor([0, *LENGTHS]).cumsum(0)
ROUNDING = 2e-2
"""Of bf16, after sums over 300 keys."""


def inputs(device, seed=0):
    """Query, key, value and slope of the output, as a layer hands them over: heads before tokens."""
    generator = torch.Generator().manual_seed(seed)
    made = [
        torch.randn(1, int(BORDERS[-1]), heads, WIDTH, generator=generator).transpose(1, 2)
        for heads in (HEADS, KEY_HEADS, KEY_HEADS, HEADS)
    ]
    return [tensor.to(device, torch.bfloat16) for tensor in made]


def attended(device, tensors, *, max_seqlen=LONGEST):
    """Output and gradients of query, key and value: token by token, four tensors."""
    attend = ALL_ATTENTION_FUNCTIONS[register_document_attention()]
    leaves = [tensor.detach().requires_grad_() for tensor in tensors[:3]]
    borders = BORDERS.to(device, torch.int32)
    out, _ = attend(None, *leaves, None, cu_seqlens=borders, max_seqlen=max_seqlen, scaling=WIDTH**-0.5)
    gradients = torch.autograd.grad(out, leaves, tensors[3].transpose(1, 2))
    return [out[0].detach(), *(gradient[0].transpose(0, 1) for gradient in gradients)]


def alone(tensors):
    """The same of each document alone in fp64, by the formula."""
    pieces = []
    for start, end in itertools.pairwise(BORDERS.tolist()):
        query, key, value, slope = (tensor[0, :, start:end].detach().cpu().double() for tensor in tensors)
        leaves = [tensor.requires_grad_() for tensor in (query, key, value)]
        keys, values = (tensor.repeat_interleave(HEADS // KEY_HEADS, 0) for tensor in leaves[1:])
        future = torch.ones(end - start, end - start, dtype=torch.bool).triu(1)
        scores = (query @ keys.transpose(1, 2) * WIDTH**-0.5).masked_fill(future, -torch.inf)
        out = scores.softmax(-1) @ values
        gradients = torch.autograd.grad(out, leaves, slope)
        pieces.append([tensor.detach().transpose(0, 1) for tensor in (out, *gradients)])
    return [torch.cat(parts) for parts in zip(*pieces, strict=True)]


def test_packed_documents_get_what_they_get_alone(device):
    tensors = inputs(device)
    for what, ours, expected in zip(
        ("output", "query", "key", "value"), attended(device, tensors), alone(tensors), strict=True
    ):
        error = (ours.cpu().double() - expected).norm() / expected.norm()
        assert error < ROUNDING, what


@pytest.mark.parametrize("changed", [0, 1, 2, 4])
def test_a_document_changes_no_bit_of_another(device, repeatable, changed):
    before, other = inputs(device), inputs(device, seed=1)
    start, end = BORDERS[changed], BORDERS[changed + 1]
    after = [tensor.clone() for tensor in before]
    for tensor, new in zip(after, other, strict=True):
        tensor[:, :, start:end] = new[:, :, start:end]
    outside = torch.ones(int(BORDERS[-1]), dtype=torch.bool, device=device)
    outside[start:end] = False
    for one, two in zip(attended(device, before), attended(device, after), strict=True):
        assert torch.equal(one[outside], two[outside])
        assert not torch.equal(one, two)


def test_a_larger_bound_of_the_lengths_changes_nothing_but_rounding(device):
    tensors = inputs(device)
    exact, rounded_up = attended(device, tensors), attended(device, tensors, max_seqlen=1024)
    for one, two in zip(exact, rounded_up, strict=True):
        torch.testing.assert_close(one, two, rtol=ROUNDING, atol=ROUNDING)
