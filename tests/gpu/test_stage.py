"""A tiny stage on a GPU through the real program: it learns, stops, and goes on to the same bits."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import tiny
from tests.gpu.conftest import GPU

pytestmark = GPU
STEPS, STOP = 8, 5


def stage(folder, output_dir, *, steps=STEPS, **changes):
    compute = {"deterministic": True, "compile": "off", "activation_checkpointing": "selective"}
    return tiny.train_config(folder, output_dir, compute=compute, duration={"max_steps": steps}, **changes)


@pytest.fixture(scope="module")
def whole(tiny_programme, tmp_path_factory):
    config = stage(tiny_programme, tmp_path_factory.mktemp("whole") / "stage")
    tiny.run(config)
    return config


def weights(config, folder):
    return load_file(Path(tiny.export(config, folder)) / "model.safetensors")


def test_a_stage_learns_and_tells_of_the_gpu(whole):
    rows = tiny.metrics(whole)
    assert len(rows) == STEPS
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert 0 < rows[-1]["memory_gib"] < 4  # of the GPU: resident memory of the process would be more


def test_a_stage_that_stopped_goes_on_to_the_same_bits(whole, tiny_programme, tmp_path):
    stopped = stage(tiny_programme, tmp_path / "stage", steps=STOP)
    tiny.run(stopped)
    resumed = stage(tiny_programme, tmp_path / "stage")
    tiny.run(resumed)
    assert tiny.curve(resumed) == tiny.curve(whole)
    ours, expected = weights(resumed, tiny_programme), weights(whole, tiny_programme)
    assert ours.keys() == expected.keys()
    assert [name for name, tensor in expected.items() if not torch.equal(tensor, ours[name])] == []


def test_a_compiled_stage_learns_the_same_to_rounding(whole, tiny_programme, tmp_path):
    compute = {"compile": "on", "activation_checkpointing": "selective"}
    duration = {"max_steps": STEPS}
    compiled = tiny.train_config(tiny_programme, tmp_path / "stage", compute=compute, duration=duration)
    tiny.run(compiled)
    losses = [row["loss"] for row in tiny.metrics(compiled)]
    assert losses == pytest.approx([row["loss"] for row in tiny.metrics(whole)], rel=0.02)


def test_stage_1_runs_and_exports(tiny_programme, tmp_path):
    config = stage(tiny_programme, tmp_path / "stage", trainable={"freeze_llm": True})
    tiny.run(config)
    rows = tiny.metrics(config)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert weights(config, tiny_programme)
