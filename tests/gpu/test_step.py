"""Whole steps of the tiny model on the device: nothing waits, and speed settings change no number."""

import pytest
import torch

from onerec.config import Trainable
from tests.benchmarks.gpu_rows.lab import WARM_UP_STEPS
from tests.benchmarks.gpu_rows.ours import STAGE_1, Ours
from tests.gpu.conftest import GPU

ROUNDING = 3e-2
"""Of bf16, in a gradient norm after several layers."""
COMPILED = [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=GPU)]


def engine(lab, **compute):
    settings = {"checkpointing": "none", "compute_dtype": "bf16", "compile": "off", **compute}
    return Ours(lab, "1.7B", **settings)


def curve(lab, contender, steps=3):
    """Losses, then gradient norms, of some steps."""
    told = [contender.step(pack).figures() for pack in lab.packs[:steps]]
    return [figures.loss for figures in told] + [figures.grad_norm for figures in told]


def test_silent_steps_never_wait_for_the_device(lab):
    contender = engine(lab)
    curve(lab, contender, WARM_UP_STEPS)
    with lab.gauge.waits() as places:
        outcomes = [contender.step(pack) for pack in lab.packs[:3]]
    assert places == []
    assert all(outcome.figures().is_finite for outcome in outcomes)


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=GPU)], indirect=True)
def test_a_wait_would_be_noticed(lab):
    with lab.gauge.waits() as places:
        torch.ones(1, device=lab.device).item()
    assert len(places) == 1


@pytest.mark.parametrize("mode", ["selective", "full"])
def test_recomputation_changes_no_bit(lab, repeatable, mode):
    keeping = curve(lab, engine(lab))
    assert curve(lab, engine(lab, checkpointing=mode)) == keeping


@pytest.mark.parametrize("mode", ["none", "selective", "full"])
@pytest.mark.parametrize("device", COMPILED, indirect=True)
def test_compiled_layers_compute_the_same_to_rounding(lab, mode):
    eager = curve(lab, engine(lab, checkpointing=mode))
    compiled = curve(lab, engine(lab, checkpointing=mode, compile="on"))
    assert compiled == pytest.approx(eager, rel=ROUNDING)
    assert compiled != eager or lab.device.type == "cpu"  # where attention breaks the graph


def test_bf16_computes_what_fp32_computes_to_rounding(lab):
    exact = curve(lab, engine(lab, compute_dtype="fp32"))
    assert curve(lab, engine(lab)) == pytest.approx(exact, rel=ROUNDING)


def test_stage_1_changes_itemic_rows_alone(lab):
    contender = engine(lab, trainable=STAGE_1)
    before = weights(contender)
    curve(lab, contender)
    after = weights(contender)
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert changed == {"model.embed_tokens.itemic_rows"}
    frozen = {tensor.dtype for name, tensor in after.items() if "itemic_rows" not in name}
    assert frozen == {torch.bfloat16}  # they have no master
    assert after["model.embed_tokens.itemic_rows"].dtype == torch.float32


@pytest.mark.parametrize("trainable", [Trainable(), STAGE_1], ids=["stage 2", "stage 1"])
def test_a_step_that_is_not_finite_changes_nothing_and_neither_do_later_ones(lab, trainable):
    contender = engine(lab, trainable=trainable)
    curve(lab, contender)
    poisoned = contender.lm.get_submodule("model.norm").weight.detach().to_local()
    kept = poisoned.clone()
    poisoned.fill_(float("nan"))
    before = weights(contender)
    assert not contender.step(lab.packs[0]).figures().is_finite
    poisoned.copy_(kept)
    assert not contender.step(lab.packs[1]).figures().is_finite
    before["model.norm.weight"] = kept
    after = weights(contender)
    assert [name for name, tensor in before.items() if not torch.equal(tensor, after[name])] == []


def weights(contender):
    return {name: weight.detach().to_local().clone() for name, weight in contender.lm.named_parameters()}
