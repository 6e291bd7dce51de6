"""The chunked LM-head loss equals plain cross-entropy, in value and in every gradient."""

import pytest
import torch
from torch.nn import functional

from onerec.train.loss import head_loss

N, D, V, F = 37, 16, 53, 30


def inputs(dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden_ND = torch.randn(N, D, generator=generator, dtype=dtype)
    weight_VD = torch.randn(V, D, generator=generator, dtype=dtype)
    labels_N = torch.randint(0, V, (N,), generator=generator)
    return hidden_ND.requires_grad_(), weight_VD.requires_grad_(), labels_N


def plain(hidden_ND, weight_VD, labels_N, scale):
    losses_N = functional.cross_entropy(hidden_ND @ weight_VD.T, labels_N, reduction="none")
    (losses_N.sum() * scale).backward()
    return losses_N.detach(), hidden_ND.grad, weight_VD.grad


@pytest.mark.parametrize("minibatch_size", [None, 1, 5, 37, 1000])
def test_any_chunk_gives_the_losses_and_gradients_of_plain_cross_entropy(minibatch_size):
    hidden_ND, weight_VD, labels_N = inputs(torch.float32)
    expected = plain(*inputs(torch.float32), scale=0.3)
    loss, losses_N = head_loss(hidden_ND, weight_VD, labels_N, minibatch_size=minibatch_size, scale=0.3)
    loss.backward()
    for ours, theirs in zip((losses_N, hidden_ND.grad, weight_VD.grad), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)


def test_gradient_agrees_with_finite_differences():
    hidden_ND, weight_VD, labels_N = inputs()
    hidden, weight = hidden_ND[:5].detach().requires_grad_(), weight_VD[:9].detach().requires_grad_()

    def loss(hidden_ND, weight_RD):
        return head_loss(hidden_ND, weight_RD, labels_N[:5] % 9, minibatch_size=2)[0]

    torch.autograd.gradcheck(loss, (hidden, weight))


def test_frozen_rows_take_part_in_the_loss_and_get_no_gradient():
    hidden_ND, weight_VD, labels_N = inputs(torch.float32)
    expected = plain(*inputs(torch.float32), scale=1.0)
    frozen_FD = weight_VD[:F].detach()
    trained_RD = weight_VD[F:].detach().requires_grad_()
    loss, losses_N = head_loss(hidden_ND, trained_RD, labels_N, frozen_FD=frozen_FD, minibatch_size=8)
    loss.backward()
    torch.testing.assert_close(losses_N, expected[0], rtol=0, atol=2e-6)
    torch.testing.assert_close(hidden_ND.grad, expected[1], rtol=0, atol=2e-6)
    torch.testing.assert_close(trained_RD.grad, expected[2][F:], rtol=0, atol=2e-6)
    assert frozen_FD.grad is None


def test_nothing_trained_is_a_loss_of_zero_with_zero_gradients():
    hidden_ND, weight_VD, _ = inputs(torch.float32)
    loss, losses_N = head_loss(hidden_ND[:0], weight_VD, torch.zeros(0, dtype=torch.int64), minibatch_size=4)
    loss.backward()
    assert loss.item() == 0.0
    assert losses_N.shape == (0,)
    assert not weight_VD.grad.any()


def test_an_upstream_gradient_scales_everything():
    hidden_ND, weight_VD, labels_N = inputs(torch.float32)
    expected = plain(*inputs(torch.float32), scale=3.0)
    (head_loss(hidden_ND, weight_VD, labels_N, minibatch_size=8)[0] * 3).backward()
    torch.testing.assert_close(hidden_ND.grad, expected[1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(weight_VD.grad, expected[2], rtol=1e-5, atol=1e-5)
