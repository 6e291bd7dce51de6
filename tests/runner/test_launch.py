from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from onerec.errors import ConfigError
from runner.hosts import Host
from runner.launch import launch
from runner.launch.environment import is_scrubbed
from runner.launch.ranks import local_ranks, world_size
from runner.launch.script import script
from runner.launch.values import Command, Toolchain
from runner.manifest import load
from runner.manifest.tables import Cluster
from runner.plan import plan
from runner.rundir import RunDir, StepDir
from tests.runner.golden import assert_golden
from tests.runner.sample import ATTEMPT, HERE, TWO_HOSTS, small_plan

if TYPE_CHECKING:
    from runner.steps import Step

SHIPPED = Path(__file__).parents[2] / "manifests"
ALONE = replace(TWO_HOSTS, hosts=(), addresses={}, network=None)
FIVE = replace(TWO_HOSTS, mpirun_major=5, mpirun="/opt/openmpi/bin/mpirun", is_root=True)


def commands(
    step: Step, tools: Toolchain, overrides: tuple[str, ...] = (), manifest: str = "onerec_1.7b.toml"
) -> tuple[Command, ...]:
    """A step's commands under a shipped manifest's cluster."""
    cluster = load(SHIPPED / manifest, overrides).manifest.cluster
    return launch(step, run=Path("/runs/small"), cluster=cluster, tools=tools, attempt=ATTEMPT)


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return small_plan(tmp_path).step("first")


ETH0 = "cluster.network_interface=eth0"
SSH = "cluster.ssh_config=/etc/mpi/ssh_config"
NUMA = "cluster.numa_binding=node"


@pytest.mark.parametrize(
    ("name", "manifest", "tools", "overrides"),
    [
        ("local", "movielens", HERE, ["cluster.launcher=local", "cluster.nproc_per_node=1"]),
        ("torchrun", "movielens", HERE, ["cluster.launcher=torchrun", "cluster.nproc_per_node=2"]),
        ("torchrun-nodes", "onerec_1.7b", TWO_HOSTS, ["cluster.launcher=torchrun", "cluster.nnodes=2"]),
        ("torchrun-elastic", "onerec_1.7b", TWO_HOSTS, ["cluster.launcher=torchrun", "cluster.nnodes=1:4"]),
        ("torchrun-ssh", "onerec_1.7b", TWO_HOSTS, ["cluster.launcher=torchrun", SSH, NUMA]),
        ("mpirun4-here", "movielens", ALONE, ["cluster.launcher=mpirun", "cluster.nproc_per_node=2"]),
        ("mpirun4", "onerec_1.7b", TWO_HOSTS, ["cluster.launcher=mpirun"]),
        ("mpirun4-ssh", "onerec_1.7b", TWO_HOSTS, ["cluster.launcher=mpirun", SSH]),
        ("mpirun4-interface", "onerec_1.7b", TWO_HOSTS, ["cluster.launcher=mpirun", ETH0]),
        ("mpirun5", "onerec_1.7b", FIVE, ["cluster.launcher=mpirun"]),
        ("mpirun5-ssh", "onerec_1.7b", FIVE, ["cluster.launcher=mpirun", SSH]),
        ("mpirun5-interface", "onerec_8b", FIVE, ["cluster.launcher=mpirun", "cluster.nnodes=2", ETH0]),
    ],
)
def test_the_whole_command_of_each_launcher(
    name: str, manifest: str, tools: Toolchain, overrides: list[str]
) -> None:
    loaded = load(SHIPPED / f"{manifest}.toml", overrides).manifest
    stage1 = plan(loaded, run=RunDir(Path("/runs") / loaded.name), identities={}).step("stage1")
    found = launch(
        stage1, run=Path("/runs") / loaded.name, cluster=loaded.cluster, tools=tools, attempt=ATTEMPT
    )
    rendezvous = StepDir(Path(stage1.folder)).rendezvous(1)
    assert_golden(
        f"{name}.sh",
        script(
            found,
            title="Step stage1, attempt 1",
            tools=tools,
            removed=(rendezvous, Path("/runs/tiny/control/stop.json")),
        ),
    )


def test_steps_that_do_not_train_are_one_process_here_under_every_launcher(tmp_path: Path) -> None:
    convert = small_plan(tmp_path).step("first:convert")
    for launcher in ("torchrun", "mpirun"):
        (command,) = commands(convert, TWO_HOSTS, (f"cluster.launcher={launcher}",))
        assert command.argv[:3] == ("/venv/bin/python", "-m", "runner.rank")
        assert command.env["OMP_NUM_THREADS"] == "16"


def test_preparation_on_one_host_is_one_process_here(tmp_path: Path) -> None:
    prepare = small_plan(tmp_path).step("prepare:mixed")
    for launcher in ("torchrun", "mpirun"):
        tools = replace(TWO_HOSTS, hosts=(Host("host1", 8),))
        (command,) = commands(prepare, tools, (f"cluster.launcher={launcher}", "cluster.nnodes=1"))
        assert command.argv == (
            *("/venv/bin/python", "-m", "runner.rank"),
            *("--log-dir", "/runs/small/data/mixed/logs/attempt-1", "--"),
            *("-m", "onerec", "/runs/small/data/mixed/config.json"),
        )
        assert command.env["OMP_NUM_THREADS"] == "16"


@pytest.mark.parametrize("tools", [TWO_HOSTS, FIVE], ids=["Open MPI 4", "Open MPI 5"])
def test_preparation_on_several_hosts_is_one_process_on_each_under_mpirun(
    tmp_path: Path, tools: Toolchain
) -> None:
    prepare = small_plan(tmp_path).step("prepare:mixed")
    (command,) = commands(prepare, tools, ("cluster.launcher=mpirun",))
    words = " ".join(command.argv)
    assert "-np 2 " in words
    assert "--map-by ppr:1:node " in words
    assert words.endswith("-m onerec /runs/small/data/mixed/config.json")
    assert command.env["OMP_NUM_THREADS"] == "16"
    cluster = load(SHIPPED / "onerec_1.7b.toml", ("cluster.launcher=mpirun",)).manifest.cluster
    assert world_size(prepare, cluster=cluster, tools=tools) == 2


def test_preparation_on_several_hosts_is_one_process_on_each_under_torchrun(tmp_path: Path) -> None:
    prepare = small_plan(tmp_path).step("prepare:mixed")
    here, there = commands(prepare, TWO_HOSTS, ("cluster.launcher=torchrun", "cluster.nnodes=2"))
    assert "--nproc-per-node 1 " in " ".join(here.argv)
    assert there.argv[-3:-1] == ("host2", "--")
    assert "--nproc-per-node 1 " in there.argv[-1]
    bound = replace(TWO_HOSTS, torchrun_flags=frozenset())
    unbound = commands(prepare, bound, ("cluster.launcher=torchrun", "cluster.nnodes=2", NUMA))
    assert unbound == (here, there)


def test_mpirun_exports_every_variable_exactly_once_and_whole(step: Step) -> None:
    (command,) = commands(step, TWO_HOSTS, ("cluster.launcher=mpirun", 'cluster.env={ODD = "a,b;c=d e"}'))
    exported = [command.argv[place + 1] for place, word in enumerate(command.argv) if word == "-x"]
    assert exported == sorted(command.env)
    assert command.env["ODD"] == "a,b;c=d e"


def test_another_host_gets_the_same_command_and_environment_over_ssh(step: Step) -> None:
    here, there = commands(step, TWO_HOSTS, ("cluster.launcher=torchrun", 'cluster.env={ODD = "a b\'c"}'))
    assert there.argv[:2] == ("ssh", "-n")
    assert there.argv[-3:-1] == ("host2", "--")
    words = shlex.split(there.argv[-1])
    assert words[:4] == ["cd", "/work", "&&", "exec"]
    exports = [f"{name}={value}" for name, value in sorted(here.env.items())]
    tether = ["/venv/bin/python", "-m", "runner.tether", "$PPID", "--"]
    own = {"is_host=true,join_timeout=600": "is_host=false,join_timeout=600"}
    place = here.argv.index("--local-addr")
    argv = [own.get(word, word) for word in here.argv]
    argv[place + 1] = "10.0.0.2"
    assert words[4:] == ["env", *exports, *tether, *argv]
    assert there.env == {}


@pytest.mark.parametrize("name", ["host1", "localhost", "127.0.0.1"])
def test_a_hostfile_of_this_host_alone_needs_no_ssh(step: Step, name: str) -> None:
    tools = replace(TWO_HOSTS, hosts=(Host(name, 8),))
    (command,) = commands(step, tools, ("cluster.launcher=torchrun", "cluster.nnodes=1"))
    assert command.argv[:2] == ("/venv/bin/torchrun", "--standalone")


@pytest.mark.parametrize(
    ("written", "tools", "ranks"),
    [
        ({"launcher": "torchrun", "nproc_per_node": 3}, HERE, 3),
        ({"launcher": "torchrun"}, HERE, 8),
        ({"launcher": "torchrun"}, replace(HERE, gpus=0), 1),
        ({"launcher": "mpirun"}, replace(TWO_HOSTS, hosts=(Host("host1", 4),)), 4),
        ({"launcher": "local"}, HERE, 1),
    ],
)
def test_ranks_per_host_are_as_written_or_slots_or_gpus_or_one(
    written: dict[str, object], tools: Toolchain, ranks: int
) -> None:
    assert local_ranks(Cluster.model_validate(written), tools) == ranks


@pytest.mark.parametrize(
    ("overrides", "ranks"),
    [
        (("cluster.launcher=mpirun", "cluster.nnodes=2"), 16),
        (("cluster.launcher=torchrun", "cluster.nnodes=2"), 16),
        (("cluster.launcher=torchrun", "cluster.nnodes=1:4"), None),
    ],
)
def test_how_many_ranks_must_end_well(step: Step, overrides: tuple[str, ...], ranks: int | None) -> None:
    cluster = load(SHIPPED / "onerec_1.7b.toml", overrides).manifest.cluster
    assert world_size(step, cluster=cluster, tools=TWO_HOSTS) == ranks


def test_every_host_of_the_hostfile_takes_part_when_no_number_is_written(step: Step) -> None:
    cluster = Cluster.model_validate({"launcher": "mpirun", "hostfile": "/hosts"})
    assert world_size(step, cluster=cluster, tools=TWO_HOSTS) == 16


@pytest.mark.parametrize(
    ("overrides", "tools", "message"),
    [
        (
            ("cluster.launcher=mpirun",),
            replace(TWO_HOSTS, mpirun=None, mpirun_major=None),
            "no Open MPI 4 or 5 is on the PATH",
        ),
        (
            ("cluster.launcher=torchrun", "cluster.nnodes=2", NUMA),
            replace(TWO_HOSTS, torchrun_flags=frozenset()),
            '"node", but this torchrun has no --numa-binding; install a newer torch, or remove the key',
        ),
        (("cluster.launcher=mpirun",), replace(TWO_HOSTS, mpirun_major=3), "no Open MPI 4 or 5"),
        (
            ("cluster.launcher=torchrun", "cluster.nnodes=3"),
            TWO_HOSTS,
            "asks for 3 hosts, the hostfile has 2",
        ),
    ],
)
def test_what_cannot_be_started_is_told(
    step: Step, overrides: tuple[str, ...], tools: Toolchain, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        commands(step, tools, overrides)


def test_scripts_find_the_master_that_they_look_for_under_mpirun(step: Step) -> None:
    (command,) = commands(step, TWO_HOSTS, ("cluster.launcher=mpirun",))
    assert (command.env["MASTER_ADDR"], command.env["MASTER_PORT"]) == ("10.0.0.1", "29400")
    (alone,) = commands(step, ALONE, ("cluster.launcher=mpirun", "cluster.nnodes=1"))
    assert alone.env["MASTER_ADDR"] == "127.0.0.1"


def test_a_host_without_slots_or_beyond_those_wanted_is_no_trouble_for_mpirun(step: Step) -> None:
    tools = replace(TWO_HOSTS, hosts=(Host("a"), Host("b", 9), Host("c", 9)))
    (command,) = commands(step, tools, ("cluster.launcher=mpirun", "cluster.nnodes=2"))
    assert command.argv[1:5] == ("-np", "16", "--host", "a:8,b:8")


def test_mpirun_runs_as_root_only_for_root(step: Step) -> None:
    for is_root in (False, True):
        (command,) = commands(step, replace(TWO_HOSTS, is_root=is_root), ("cluster.launcher=mpirun",))
        assert ("--allow-run-as-root" in command.argv) == is_root


def test_this_host_under_another_name_of_the_hostfile_needs_no_ssh(step: Step) -> None:
    tools = replace(TWO_HOSTS, host="login", own_names=frozenset({"host2"}))
    there, here = commands(step, tools, ("cluster.launcher=torchrun", "cluster.nnodes=2"))
    assert (there.argv[0], here.argv[0]) == ("ssh", "/venv/bin/torchrun")


def test_no_file_of_the_working_folder_can_shadow_a_module(step: Step) -> None:
    for launcher in ("local", "torchrun", "mpirun"):
        cluster = Cluster.model_validate({"launcher": launcher})
        for command in launch(step, run=Path("/r"), cluster=cluster, tools=TWO_HOSTS, attempt=ATTEMPT):
            assert command.env.get("PYTHONSAFEPATH") == "1" or "PYTHONSAFEPATH=1" in command.argv[-1]


def test_variables_of_a_launcher_around_the_runner_do_not_get_through() -> None:
    names = ["PET_NPROC_PER_NODE", "RANK", "OMPI_COMM_WORLD_RANK", "TORCHELASTIC_RUN_ID", "PMIX_RANK"]
    assert all(map(is_scrubbed, names))
    assert not any(map(is_scrubbed, ["PATH", "OMPI_MCA_btl", "CUDA_VISIBLE_DEVICES", "RANKING"]))
