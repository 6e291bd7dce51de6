"""What the trainer does with its memory: looks, agrees with all ranks, chooses, and tells when it ran out."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from onerec.config import Compute, Trainable
from onerec.config.memory import LOGITS_BYTES, MODES, estimate
from onerec.distributed import World, process_group
from onerec.errors import ConfigError
from onerec.model import memory
from onerec.model.memory import (
    available_bytes,
    resolve_checkpointing,
    stage_shape,
    telling_out_of_memory,
)
from onerec.train import loss
from tests import tiny
from tests.model.packed_qwen3 import CONFIG, ROWS

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def _one_rank():
    with process_group(World(0, 1, 0, 1, "single"), device=CPU, env={}):
        yield


def shape(*, trainable=None, **compute):
    return stage_shape(
        Qwen3Config(**CONFIG),
        trainable=trainable or Trainable(),
        compute=Compute(**compute),
        first_itemic_id=ROWS - 40,
        max_length=65536,
        shard_ranks=1,
        device=CPU,
    )


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host with as much free memory as is written."""

    def write(free_bytes, *, limit="max", used=0, cached=0):
        (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:   {free_bytes // 1024} kB\n")
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text(f"{used}\n")
        (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\n")
        monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
        monkeypatch.setattr(memory, "CGROUP", tmp_path)

    return write


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_counted_as_the_model_has_them(tied):
    sizes = replace(shape().model, tied=tied)
    with torch.device("meta"):
        model = Qwen3ForCausalLM(Qwen3Config(**CONFIG, tie_word_embeddings=tied))
    assert sizes.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert sizes.layer_parameters == sum(each.numel() for each in model.model.layers[0].parameters())


@pytest.mark.parametrize(
    ("trainable", "rows"),
    [
        (Trainable(), None),
        (Trainable(freeze_llm=True), 40),
        (Trainable(freeze_llm=True, start_optimize_embedding_index=10), ROWS - 10),
    ],
)
def test_the_rows_that_train_are_those_after_the_first(trainable, rows):
    assert shape(trainable=trainable).trained_rows == rows


def test_the_loss_has_as_many_logits_as_the_estimate_says():
    assert loss.LOGITS_BYTES == LOGITS_BYTES


def test_ranks_of_a_host_share_what_host_and_container_have_free(host):
    host(8_000_000)
    assert available_bytes(CPU, local_size=1) == 8_000_000 // 1024 * 1024
    assert available_bytes(CPU, local_size=4) == 8_000_000 // 1024 * 1024 // 4
    host(8_000_000, limit=5_000_000, used=1_000_000)
    assert available_bytes(CPU, local_size=2) == 2_000_000
    host(8_000_000, limit=5_000_000, used=6_000_000)
    assert available_bytes(CPU, local_size=2) == 0
    host(8_000_000, limit=5_000_000, used=6_000_000, cached=3_000_000)
    assert available_bytes(CPU, local_size=2) == 1_000_000


def test_a_host_without_control_groups_has_no_limit(host, tmp_path):
    host(8_000_000)
    (tmp_path / "memory.max").unlink()
    assert available_bytes(CPU, local_size=1) == 8_000_000 // 1024 * 1024


@pytest.mark.usefixtures("_one_rank")
def test_auto_takes_the_least_recomputation_that_fits(host):
    chosen = []
    for mode in MODES:
        host(int(estimate(shape(), mode).total / 0.89))
        chosen.append(resolve_checkpointing(shape(), device=CPU, local_size=1).mode)
    assert chosen == list(MODES)


@pytest.mark.usefixtures("_one_rank")
def test_what_was_chosen_and_why_is_one_line(host):
    host(10 * 10**9)
    line = str(resolve_checkpointing(shape(), device=CPU, local_size=1))
    assert line.startswith("activation checkpointing: none (chosen by memory); a rank needs about ")
    assert "2.8 GB of 10.0 GB free (weights 715.3 kB, gathered 493.3 kB, gradients 1.7 MB, " in line
    assert "\n" not in line
    fixed = shape(activation_checkpointing="full")
    assert "full (as configured)" in str(resolve_checkpointing(fixed, device=CPU, local_size=1))


@pytest.mark.usefixtures("_one_rank")
def test_what_does_not_fit_is_still_tried_with_everything_recomputed_and_told(host):
    host(10**6)
    found = resolve_checkpointing(shape(), device=CPU, local_size=1)
    assert (found.mode, found.fits) == ("full", False)
    assert str(found).endswith('; it may not fit: lower max_length, use more ranks, or sharding = "full"')


def test_the_end_of_a_gpus_memory_is_an_error_with_remedies():
    told = (
        "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 139.72 GiB of which "
        "1.00 GiB is free. Including non-PyTorch memory, this process has 138 GiB memory in use."
    )
    with pytest.raises(ConfigError) as caught, telling_out_of_memory(torch.device("cuda", 3)):
        raise torch.OutOfMemoryError(told)
    text = str(caught.value)
    assert text.startswith(
        "cuda:3 ran out of memory: CUDA out of memory. Tried to allocate 20.00 GiB; "
        'set activation_checkpointing = "full", lower max_length or minibatch_size'
    )
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes"), telling_out_of_memory(CPU):
        raise RuntimeError("shapes do not fit")


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """What three gloo ranks say that stand on hosts of two and of one, the last with least memory."""
    folder = tmp_path_factory.mktemp("uneven")
    done = subprocess.run(
        [sys.executable, "-m", "tests.model.uneven_ranks", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env=tiny.environment() | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        timeout=120,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(3)]


def test_all_ranks_use_what_the_one_with_least_memory_can(uneven):
    assert [told["mode"] for told in uneven] == ["full"] * 3
    assert len({told["available"] for told in uneven}) == 1


def test_uneven_hosts_share_one_mesh_and_refuse_hybrid_on_every_rank(uneven):
    assert [told["mesh"] for told in uneven] == [[3]] * 3
    assert all("as many ranks on every host, but they have 2, 1" in told["hybrid"] for told in uneven)
