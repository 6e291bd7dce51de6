"""The norm of a gradient is that of exact arithmetic, whatever format the gradient is in."""

import pytest
import torch

from onerec.train.step import clip_gradients


def module_with_gradients(dtype, *, count=300):
    generator = torch.Generator().manual_seed(0)
    layers = torch.nn.ModuleList(torch.nn.Linear(31, 33, bias=False, dtype=dtype) for _ in range(count))
    for layer in layers:
        layer.weight.grad = torch.randn(33, 31, generator=generator).to(dtype)
    layers.append(torch.nn.Linear(2, 2))  # without a gradient
    return layers


def exact_norm(module):
    gradients = [one.grad.double().flatten() for one in module.parameters() if one.grad is not None]
    return torch.cat(gradients).norm().item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_norm_is_exact_and_clipping_scales_to_it(dtype):
    module = module_with_gradients(dtype)
    expected = exact_norm(module)
    assert clip_gradients(module, max_norm=2.0).item() == pytest.approx(expected, rel=1e-6)
    assert exact_norm(module) == pytest.approx(2.0, rel=5e-3 if dtype == torch.bfloat16 else 1e-6)


@pytest.mark.parametrize("max_norm", [0.0, 1e9])
def test_a_norm_within_the_bound_or_no_bound_changes_nothing(max_norm):
    module = module_with_gradients(torch.float32, count=2)
    before = [layer.weight.grad.clone() for layer in module[:2]]
    clip_gradients(module, max_norm=max_norm)
    assert all(torch.equal(layer.weight.grad, grad) for layer, grad in zip(module, before, strict=False))


def test_a_gradient_that_is_not_finite_makes_the_norm_so():
    module = module_with_gradients(torch.float32, count=2)
    module[0].weight.grad[3, 4] = float("inf")
    assert not clip_gradients(module, max_norm=1.0).isfinite()
