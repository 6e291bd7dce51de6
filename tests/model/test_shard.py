"""Sharded and compiled layers: the numbers of eager ones, compiled twice for packs of every kind."""

import functools
import shutil

import pytest
import torch
from torch._dynamo.utils import counters
from transformers import Qwen3Config

from onerec.config import Compute, Trainable
from onerec.config.memory import MODES
from onerec.distributed import World, process_group
from onerec.model import activation
from onerec.model.build import build_model
from onerec.model.shard import build_mesh, shard
from tests.model import opaque_attention
from tests.model.packed_qwen3 import CONFIG, ROWS, Body, build, fill, forward_backward, pack

CPU = torch.device("cpu")
PACKS = ((10, 20, 30), (5, 7, 9, 40), (33,), (1, 2, 3, 4, 5, 50), (90, 5))
"""Documents of packs: as many and as long as it happens."""


@pytest.fixture(scope="module", autouse=True)
def _one_rank():
    world = World(rank=0, size=1, local_rank=0, local_size=1, launcher="single")
    with process_group(world, device=CPU, env={}):
        yield


@pytest.fixture(autouse=True)
def _nothing_compiled_yet():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def sharded(mode, **compute):
    """A model as a stage makes it, on one rank."""
    settings = Compute(activation_checkpointing=mode, **compute)
    model = build_model(
        Qwen3Config(**CONFIG), trainable=Trainable(), compute=settings, first_itemic_id=ROWS // 2
    )
    body = Body(model)
    mesh = build_mesh(CPU, world_size=1, local_size=1)
    shard(body, model, mesh=mesh, device=CPU, compute=settings)
    fill(model)
    return body


def names(body):
    """Of the language model's parameters."""
    return {name for name, _ in body.lm.named_parameters()}


def pass_all(body):
    """Forward and backward over every pack."""
    return [forward_backward(body, pack(*lengths)) for lengths in PACKS]


def assert_same_numbers(ours, plain, *, rtol):
    """Losses agree, and gradients in relation to the largest number of each."""
    for one, other in zip(ours, plain, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=rtol, abs=1e-4)
        assert one.gradients.keys() == other.gradients.keys()
        errors = {
            name: float((one.gradients[name] - whole).abs().max() / whole.abs().max().clamp(min=1e-9))
            for name, whole in other.gradients.items()
        }
        assert {name: error for name, error in errors.items() if error > rtol} == {}


@pytest.fixture
def _captured_only(monkeypatch):
    """torch.compile that captures and differentiates as ever, and runs the graphs without compiling C++."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))


@pytest.fixture
def _opaque_attention(monkeypatch):
    monkeypatch.setattr(activation, "ATTENTION", activation.ATTENTION | {opaque_attention.NAME})


def test_a_sharded_model_has_its_own_names_and_numbers():
    model = sharded("selective", compile="off")
    assert names(model) == names(build())
    assert_same_numbers(pass_all(model), pass_all(build(activation_checkpointing="none")), rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.usefixtures("_captured_only", "_opaque_attention")
def test_a_layer_is_one_graph_that_all_layers_and_packs_share(mode):
    model, plain = sharded(mode, compile="on"), pass_all(build(activation_checkpointing="none"))
    opaque_attention.register()
    assert_same_numbers(pass_all(model), plain, rtol=1e-5)
    assert (sum(counters["graph_break"].values()), counters["stats"]["unique_graphs"]) == (0, 2)
    assert names(model) == names(build())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs a C++ compiler")
def test_compiled_layers_give_the_numbers_of_eager_ones():
    model = sharded("none", compile="on")
    assert_same_numbers(pass_all(model), pass_all(build(activation_checkpointing="none")), rtol=1e-5)
    graphs = counters["stats"]["unique_graphs"]
    for lengths in ((2, 3, 5, 7, 11, 13), (64, 64), (1,) * 17):
        forward_backward(model, pack(*lengths))
    assert counters["stats"]["unique_graphs"] == graphs
