"""Tensors that are not finite, dead, out of line, or other than in their file are named."""

import math

import pytest
import torch

from onerec.model_test.moments import moments_of, row_norms
from onerec.model_test.weights import check_loaded
from tests.model_test.folders import ALWAYS, found, subject, tensors, unusual

UP, NORM = "model.layers.1.mlp.up_proj.weight", "model.layers.0.input_layernorm.weight"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_found_wherever_it_is(folder, number):
    with tensors(folder) as held:
        held[UP][3, 4] = number
    checks = found(folder)
    assert checks["finite"].detail == f"{UP} in model.safetensors has nan or infinite numbers"
    failed = {name for name, status in unusual(checks).items() if status == "failed"}
    assert failed == {"finite", "forward, text"}
    assert checks["loaded"].status == "ok"


@pytest.mark.parametrize(
    ("name", "number", "told"),
    [(UP, 0.0, "is 0 everywhere"), (UP, 0.25, "is 0.25 everywhere"), (NORM, 0.0, "is 0 everywhere")],
)
def test_a_dead_tensor_is_named(folder, name, number, told):
    with tensors(folder) as held:
        held[name].fill_(number)
    checks = found(folder)
    assert checks["no dead tensor"].detail == f"{name} in model.safetensors {told}"


@pytest.mark.parametrize("factor", [50.0, 0.02])
def test_a_matrix_that_is_out_of_line_is_a_note(folder, factor):
    with tensors(folder) as held:
        held[UP] *= factor
    checks = found(folder)
    assert unusual(checks) == {"layers alike": "note"} | ALWAYS
    assert f"{UP} in model.safetensors is " in checks["layers alike"].detail


def test_fresh_matrices_are_counted_among_trained_ones(folder):
    generator = torch.Generator().manual_seed(1)
    with tensors(folder) as held:
        for name, tensor in held.items():
            if ".layers." in name and tensor.ndim == 2 and name != UP:
                held[name] = tensor + 0.02 * torch.randn(tensor.shape, generator=generator)
    checks = found(folder)
    assert unusual(checks) == ALWAYS
    assert checks["trained"].detail == (
        "1 of 14 matrices of the layers look newly initialised (normal, 0.02), "
        f"first {UP} in model.safetensors"
    )
    with tensors(folder) as held:
        held[UP] *= 1.5
    assert unusual(found(folder)) == {}


def test_a_parameter_that_is_not_as_stored_is_named(folder):
    opened = subject(folder)
    model, told = opened.loaded
    with torch.no_grad():
        model.get_parameter(UP)[0, 0] += 1
    told["mismatched_keys"] = {"x"}
    finding = check_loaded(opened)
    assert (finding.status, finding.detail) == (
        "failed",
        f"transformers tells mismatched_keys: ['x']; {UP} is other than in model.safetensors",
    )


def test_moments_in_pieces_are_those_of_the_whole(monkeypatch):
    monkeypatch.setattr("onerec.model_test.moments.PIECE", 7)
    numbers = torch.randn(5, 9, generator=torch.Generator().manual_seed(0)) + 3
    told, wide = moments_of(numbers), numbers.double()
    centred = wide - wide.mean()
    assert (told.count, told.least, told.greatest) == (45, float(numbers.min()), float(numbers.max()))
    assert told.mean == pytest.approx(float(wide.mean()))
    assert told.deviation == pytest.approx(float(wide.std(correction=0)), rel=1e-5)
    assert told.kurtosis == pytest.approx(float((centred**4).mean() / (centred**2).mean() ** 2), rel=1e-4)
    assert torch.allclose(row_norms(numbers), numbers.norm(dim=1))
