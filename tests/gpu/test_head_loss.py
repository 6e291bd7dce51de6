"""The LM-head loss in bf16 on the device, against plain cross-entropy in fp64 on the CPU."""

import pytest
import torch
from torch.nn import functional

from onerec.train.loss import head_loss

POSITIONS, ROWS, WIDTH = 300, 1000, 64
FROZEN = 613
"""Frozen rows come first; an odd number, so that no product is aligned by luck."""
SCALE = 1 / POSITIONS


def problem():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(POSITIONS, WIDTH, generator=generator)
    weight = torch.randn(ROWS, WIDTH, generator=generator) * 0.3
    labels = torch.randint(0, ROWS, (POSITIONS,), generator=generator)
    return hidden.bfloat16(), weight.bfloat16(), labels


def expected(frozen):
    """Losses and gradients in fp64 of the same rounded inputs."""
    hidden, weight, labels = problem()
    hidden, weight = (tensor.double().requires_grad_() for tensor in (hidden, weight))
    losses = functional.cross_entropy(hidden @ weight.T, labels, reduction="none")
    gradients = torch.autograd.grad(losses.sum() * SCALE, (hidden, weight))
    return losses.detach(), gradients[0], gradients[1][frozen:]


def ours(device, frozen, *, minibatch_size=64, dtype=torch.bfloat16):
    """The same of ours, on the CPU again."""
    hidden, weight, labels = (tensor.to(device) for tensor in problem())
    hidden, weight = hidden.to(dtype).requires_grad_(), weight.to(dtype)
    trained = weight[frozen:].clone().requires_grad_()
    loss, losses = head_loss(
        hidden,
        trained,
        labels,
        frozen_FD=weight[:frozen] if frozen else None,
        minibatch_size=minibatch_size,
        scale=SCALE,
    )
    gradients = torch.autograd.grad(loss, (hidden, trained))
    assert [gradient.dtype for gradient in gradients] == [dtype, dtype]
    return [tensor.detach().cpu().double() for tensor in (losses, *gradients)]


def distance(one, two):
    return float((one - two).norm() / two.norm())


@pytest.mark.parametrize("frozen", [0, FROZEN])
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.bfloat16, 1e-2), (torch.float32, 1e-5)])
def test_losses_and_gradients_are_those_of_plain_cross_entropy(device, frozen, dtype, rounding):
    losses, *gradients = ours(device, frozen, dtype=dtype)
    right_losses, *right_gradients = expected(frozen)
    assert distance(losses, right_losses) < rounding / 10  # logits are fp32 whatever the inputs are
    for gradient, right in zip(gradients, right_gradients, strict=True):
        assert distance(gradient, right) < rounding


def test_the_size_of_chunks_changes_rounding_alone(device):
    for one, two in zip(
        ours(device, 0, minibatch_size=64), ours(device, 0, minibatch_size=None), strict=True
    ):
        assert distance(one, two) < 1e-2


def test_a_repetition_has_the_same_bits(device, repeatable):
    for one, two in zip(ours(device, FROZEN), ours(device, FROZEN), strict=True):
        assert torch.equal(one, two)
