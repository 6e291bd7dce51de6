from __future__ import annotations

import pytest

from onerec.config import Compute
from onerec.config.memory import ModelSizes
from onerec.errors import ConfigError
from runner.gpus import Gpu
from runner.hosts import Host
from runner.manifest.tables import Cluster
from runner.memory import StageMemory, ranks_by_host, stage_memory

QWEN3_1_7B = ModelSizes(
    hidden=2048,
    layers=28,
    heads=16,
    kv_heads=8,
    head_dim=128,
    intermediate=6144,
    rows=176_384,
    tied=True,
)
H100, H200 = Gpu("NVIDIA H100 80GB HBM3", 81559 << 20), Gpu("NVIDIA H200", 143771 << 20)
HOSTS = (Host("a", 8), Host("b", 8))


def memory(*, hosts: tuple[int, ...] = (8,), gpu: Gpu | None = H200, **compute: object) -> StageMemory:
    return stage_memory(
        QWEN3_1_7B,
        compute=Compute.model_validate(compute),
        trained_rows=None,
        max_length=32768,
        hosts=hosts,
        gpu=gpu,
        on_gpu=True,
    )


@pytest.mark.parametrize(
    ("hosts", "compute", "shard_ranks"),
    [
        ((8,), {}, 8),
        ((8, 8), {}, 8),
        ((8, 8), {"sharding": "full"}, 16),
        ((1,), {}, 1),
    ],
)
def test_weights_are_shared_by_the_ranks_of_the_mesh(
    hosts: tuple[int, ...], compute: dict[str, object], shard_ranks: int
) -> None:
    found = memory(hosts=hosts, **compute)
    assert (found.shard_ranks, found.ranks) == (shard_ranks, sum(hosts))
    assert found.needed.weights == -(-QWEN3_1_7B.parameters * 4 // shard_ranks)


def test_a_sharding_that_the_hosts_do_not_allow_is_refused() -> None:
    with pytest.raises(ConfigError, match="as many ranks on every host"):
        memory(hosts=(8, 4), sharding="hybrid")


def test_the_text_names_the_gpu_and_says_that_hosts_are_taken_to_be_alike() -> None:
    text = str(memory(hosts=(8, 8)))
    assert "of the 150.8 GB of NVIDIA H200, taken to be on every host" in text
    assert "activation checkpointing none, chosen by memory (weights 885.3 MB, gathered " in text
    assert "taken to be" not in str(memory())


def test_without_a_gpu_the_worst_case_is_told_and_what_the_others_would_need() -> None:
    found = memory(gpu=None)
    assert found.share is None
    assert "(to be compared when a GPU is known), activation checkpointing full at worst (none " in str(found)


def test_the_smaller_gpu_gets_more_recomputation_unless_the_manifest_decides() -> None:
    assert memory().needed.checkpointing == "none"
    assert memory(gpu=H100).needed.checkpointing == "selective"
    fixed = memory(gpu=H100, activation_checkpointing="full")
    assert (fixed.needed.checkpointing, fixed.is_chosen) == ("full", False)


def test_json_holds_bytes_of_every_part_and_what_they_are_compared_with() -> None:
    document = memory().to_json()
    assert document["gpu_bytes"] == 143771 << 20
    assert document["total"] == sum(document["parts"].values())  # type: ignore[attr-defined]
    assert set(document) == {
        "checkpointing",
        "total",
        "parts",
        "is_chosen",
        "by_checkpointing",
        "ranks",
        "shard_ranks",
        "gpu",
        "gpu_bytes",
    }


@pytest.mark.parametrize(
    ("cluster", "hosts", "gpus", "ranks"),
    [
        ({}, (), 8, (1,)),
        ({"launcher": "torchrun"}, (), 8, (8,)),
        ({"launcher": "torchrun"}, (), 0, (1,)),
        ({"launcher": "torchrun", "nproc_per_node": 2}, (), 8, (2,)),
        ({"launcher": "mpirun"}, HOSTS, 0, (8, 8)),
        ({"launcher": "mpirun", "nproc_per_node": 4}, HOSTS, 0, (4, 4)),
        ({"launcher": "torchrun", "nnodes": "1:2"}, HOSTS, 0, (8,)),
        ({"launcher": "torchrun", "nnodes": 2}, (Host("a"), Host("b")), 4, (4, 4)),
        (
            {"launcher": "slurm", "nnodes": 2, "slurm": {"gpus_per_node": "a100:4"}},
            (),
            0,
            (4, 4),
        ),
    ],
)
def test_ranks_on_each_host(
    cluster: dict[str, object], hosts: tuple[Host, ...], gpus: int, ranks: tuple[int, ...]
) -> None:
    assert ranks_by_host(Cluster.model_validate(cluster), hosts=hosts, gpus=gpus) == ranks
