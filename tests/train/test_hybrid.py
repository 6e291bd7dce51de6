"""Several hosts: weights sharded within each and copied between them, or sharded over all, for real.

Two torchrun agents with two ranks each make two hosts of one; the numbers must be those of a single process.
"""

import json
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from onerec.checkpoint import commit
from onerec.checkpoint.tensors import SafeReader
from tests import tiny

HOSTS, RANKS_PER_HOST = 2, 2
HALF = 4
"""Step at which the first part ends."""


def config_of(folder, output_dir, *, sharding="auto", max_steps=None):
    """Seven steps of eight packs, the last with two packs and fillers."""
    return tiny.train_config(
        folder,
        output_dir,
        data={"num_epochs": 2},
        compute={"sharding": sharding},
        checkpoint={"save_checkpoint_per_step": HALF},
        duration={"packs_per_step": 8, "max_steps": max_steps},
    )


def run_on_hosts(config):
    """Run a stage under one torchrun agent for each host, all of them on this machine."""
    stage = tiny.command(config)[1:]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    agent = [
        *(sys.executable, "-m", "torch.distributed.run", "--local-addr", "127.0.0.1"),
        *("--nnodes", str(HOSTS), "--nproc-per-node", str(RANKS_PER_HOST)),
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "hosts"),
    ]
    output = Path(config["output_dir"])
    with ExitStack() as stack:
        agents = []
        for host in range(HOSTS):
            log = stack.enter_context((output / f"host-{host}.log").open("w"))
            command = [*agent, "--log-dir", str(output / f"elastic-{host}"), *stage]
            agents.append(
                subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=tiny.environment())
            )
            stack.callback(agents[-1].kill)
        codes = [started.wait(timeout=240) for started in agents]
    logs = "\n".join((output / f"host-{host}.log").read_text() for host in range(HOSTS))
    assert codes == [0] * HOSTS, logs


def shards_of(config):
    """Into how many pieces the newest checkpoint holds each table and matrix."""
    stage = Path(config["output_dir"])
    folder = commit.data_dir(commit.step_dir(stage, commit.complete_steps(stage)[-1])) / "model"
    stored = SafeReader(folder).read_metadata().state_dict_metadata
    return {len(entry.chunks) for entry in stored.values() if len(entry.size) == 2}


def close(curve, other):
    assert [row[0] for row in curve] == [row[0] for row in other]
    assert [row[1] for row in curve] == pytest.approx([row[1] for row in other], rel=1e-5)
    assert [row[2] for row in curve] == pytest.approx([row[2] for row in other], rel=1e-4)


def equal_weights(config, other, folder):
    others = load_file(tiny.export(other, folder) / "model.safetensors")
    for name, tensor in load_file(tiny.export(config, folder) / "model.safetensors").items():
        torch.testing.assert_close(tensor, others[name], rtol=0, atol=1e-4, msg=name)


@pytest.fixture(scope="module")
def whole(tiny_programme, tmp_path_factory):
    """The stage trained by one process."""
    config = config_of(tiny_programme, tmp_path_factory.mktemp("whole") / "stage")
    tiny.run(config)
    return config


@pytest.fixture(scope="module")
def hybrid(tiny_programme, tmp_path_factory):
    """Its first half on two hosts, as they are by default."""
    config = config_of(tiny_programme, tmp_path_factory.mktemp("hybrid") / "stage", max_steps=HALF)
    run_on_hosts(config)
    return config


def test_two_hosts_shard_within_a_host_and_give_the_curve_of_one_process(whole, hybrid):
    assert shards_of(hybrid) == {RANKS_PER_HOST}
    close(tiny.curve(hybrid), tiny.curve(whole)[:HALF])
    assert tiny.metrics(hybrid)[-1]["tokens"] == tiny.metrics(whole)[HALF - 1]["tokens"]


def goes_on(hybrid, tiny_programme, output_dir, **changes):
    """The config of the second half, in a copy of the first."""
    shutil.copytree(hybrid["output_dir"], output_dir)
    config = config_of(tiny_programme, output_dir, **changes)
    assert json.loads((output_dir / "result.json").read_text())["step"] == HALF
    (output_dir / "result.json").unlink()
    return config


def test_what_two_hosts_saved_goes_on_with_two_ranks_of_one_host(whole, hybrid, tiny_programme, tmp_path):
    config = goes_on(hybrid, tiny_programme, tmp_path / "stage")
    tiny.run(config, ranks=2)
    close(tiny.curve(config), tiny.curve(whole))
    equal_weights(config, whole, tiny_programme)


def test_it_goes_on_with_weights_sharded_over_all_ranks_of_both_hosts(
    whole, hybrid, tiny_programme, tmp_path
):
    config = goes_on(hybrid, tiny_programme, tmp_path / "stage", sharding="full")
    run_on_hosts(config)
    assert shards_of(config) == {HOSTS * RANKS_PER_HOST}
    close(tiny.curve(config), tiny.curve(whole))
    equal_weights(config, whole, tiny_programme)
