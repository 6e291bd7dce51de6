"""The command of srun, whole; and how many hosts and tasks it asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from onerec.errors import ConfigError
from runner.launch import launch
from runner.launch.ranks import local_ranks, world_size
from runner.launch.script import script
from runner.launch.slurm import name_ending, step_name
from runner.launch.values import Command, Toolchain
from runner.manifest import load
from runner.manifest.tables import Cluster
from runner.plan import plan
from runner.rundir import RunDir, StepDir
from tests.runner.golden import assert_golden
from tests.runner.sample import ATTEMPT, HERE, small_plan

SHIPPED = Path(__file__).parents[2] / "manifests"
LOGIN = replace(HERE, gpus=0, srun="/usr/bin/srun")
JOB = replace(HERE, srun="/usr/bin/srun", slurm_nodes=2, slurm_peers=("10.0.0.1", "10.0.0.2"))


@pytest.mark.parametrize(
    ("name", "tools", "overrides"),
    [
        ("slurm", JOB, ["cluster.slurm.gpus_per_node=a100:8"]),
        ("slurm-cores", LOGIN, ["cluster.nproc_per_node=4", "cluster.slurm.cpus_per_task=6"]),
    ],
)
def test_the_whole_command_of_a_training_stage(name: str, tools: Toolchain, overrides: list[str]) -> None:
    settings = ["cluster.launcher=slurm", "cluster.nproc_per_node=auto", *overrides]
    loaded = load(SHIPPED / "movielens.toml", settings).manifest
    run = RunDir(Path("/runs") / loaded.name)
    stage1 = plan(loaded, run=run, identities={}).step("stage1")
    found = launch(stage1, run=run.path, cluster=loaded.cluster, tools=tools, attempt=ATTEMPT)
    removed = (StepDir(Path(stage1.folder)).rendezvous(1), run.stop_file)
    assert_golden(f"{name}.sh", script(found, title="Step stage1, attempt 1", tools=tools, removed=removed))


def command(folder: Path, step: str, tools: Toolchain = JOB, **cluster: object) -> Command:
    (found,) = launch(
        small_plan(folder).step(step),
        run=Path("/runs/small"),
        cluster=Cluster.model_validate({"launcher": "slurm", **cluster}),
        tools=tools,
        attempt=ATTEMPT,
    )
    return found


def test_preparation_is_one_task_on_each_host_of_the_job(tmp_path: Path) -> None:
    argv = command(tmp_path, "prepare:mixed", nproc_per_node=8).argv
    assert [word for word in argv if word.startswith(("--nodes", "--ntasks"))] == [
        *("--nodes=2", "--ntasks=2", "--ntasks-per-node=1")
    ]


def test_the_hosts_of_a_job_look_for_the_way_to_each_other(tmp_path: Path) -> None:
    assert command(tmp_path, "first").env["RUNNER_PEERS"] == "10.0.0.1,10.0.0.2"
    assert "RUNNER_PEERS" not in command(tmp_path, "made").env
    assert "RUNNER_PEERS" not in command(tmp_path, "first", LOGIN).env
    named = command(tmp_path, "first", network_interface="ib0").env
    assert ("RUNNER_PEERS" not in named, named["NCCL_SOCKET_IFNAME"]) == (True, "=ib0")


@pytest.mark.parametrize("step", ["made", "base", "expand", "first:convert", "test"])
def test_a_step_that_is_one_process_is_none_of_srun(tmp_path: Path, step: str) -> None:
    assert "/usr/bin/srun" not in command(tmp_path, step, nproc_per_node=8).argv


def test_preparation_on_one_host_is_none_of_srun(tmp_path: Path) -> None:
    assert "/usr/bin/srun" not in command(tmp_path, "prepare:mixed", replace(JOB, slurm_nodes=1)).argv


@pytest.mark.parametrize(
    ("written", "tools", "ranks"),
    [
        ({"slurm": {"gpus_per_node": 8}}, LOGIN, 8),
        ({"slurm": {"gpus_per_node": "a100:4"}}, LOGIN, 4),
        ({"slurm": {"gpus_per_node": 8}, "nproc_per_node": 2}, LOGIN, 2),
        ({}, LOGIN, 1),
        ({}, JOB, 1),
    ],
    ids=["a number", "a type", "as written", "nothing said", "no look at the GPUs that happen to be here"],
)
def test_tasks_per_host_are_known_where_the_job_is_submitted(
    written: dict[str, object], tools: Toolchain, ranks: int
) -> None:
    assert local_ranks(Cluster.model_validate({"launcher": "slurm", **written}), tools) == ranks


@pytest.mark.parametrize(
    ("nnodes", "tools", "ranks"), [(None, JOB, 4), (None, LOGIN, 2), (4, LOGIN, 8), (1, JOB, 2)]
)
def test_hosts_are_as_written_or_those_of_the_job_or_one(
    tmp_path: Path, nnodes: int | None, tools: Toolchain, ranks: int
) -> None:
    cluster = Cluster.model_validate({"launcher": "slurm", "nproc_per_node": 2, "nnodes": nnodes})
    assert world_size(small_plan(tmp_path).step("first"), cluster=cluster, tools=tools) == ranks


def test_steps_of_one_run_end_alike_and_those_of_another_run_of_that_name_do_not() -> None:
    first, second = step_name("tiny-a-1-x", run="/a/tiny"), step_name("tiny-b-1-y", run="/a/tiny")
    assert first != second
    assert first.endswith(name_ending("/a/tiny"))
    assert second.endswith(name_ending("/a/tiny"))
    assert not first.endswith(name_ending("/b/tiny"))


def test_without_srun_it_is_told_where_to_start_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="srun is not on the PATH; start it where jobs are submitted"):
        command(tmp_path, "first", HERE)
