"""What is known about a job before it is submitted: judged from what Slurm answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.manifest.tables import Cluster
from runner.preflight.slurm import check_job, check_partitions, check_slurm, check_version
from runner.slurm.ask import Partition

FOUND = (
    Partition("gpu", is_up=True, time_limit="1-00:00:00", nodes=4, gpus=8),
    Partition("big", is_up=True, time_limit="infinite", nodes=40, gpus=8),
    Partition("old", is_up=False, time_limit="30", nodes=2, gpus=0),
)


def cluster(**slurm: object) -> Cluster:
    nnodes = slurm.pop("nnodes", None)
    return Cluster.model_validate({"launcher": "slurm", "nnodes": nnodes, "slurm": slurm})


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, []),
        ({"partition": "gpu,big", "nnodes": 4, "gpus_per_node": 8, "time": "1-00:00:00"}, []),
        (
            {"partition": "gpus"},
            ["error: cluster.slurm.partition: Slurm has no partition 'gpus'; did you mean 'gpu'?"],
        ),
        (
            {"partition": "big,night"},
            [
                "error: cluster.slurm.partition: Slurm has no partition 'night'; "
                "there are: 'gpu', 'big' and 'old'"
            ],
        ),
        (
            {"partition": "old", "nnodes": 3, "gpus_per_node": "a100:1", "time": "1:00:00"},
            [
                "warning: cluster.slurm.partition: old is not up: the job will wait until it is; "
                "choose another, or wait",
                "warning: cluster.nnodes: 3 hosts are more than the 2 of partition old; "
                "lower it, or choose another partition",
                "warning: cluster.slurm.gpus_per_node: 1 GPUs are more than the 0 that hosts of partition "
                "old have; lower it, or choose another partition",
                "warning: cluster.slurm.time: 1:00:00 is longer than the 30 that partition old allows; "
                'write "30": the run goes on in the next job',
            ],
        ),
    ],
    ids=["no partition", "all fits", "misspelt", "one of two", "all too much"],
)
def test_partitions_are_there_and_can_take_the_job(asked: dict[str, object], told: list[str]) -> None:
    assert [str(finding) for finding in check_partitions(cluster(**asked), FOUND)] == told


@pytest.mark.parametrize(
    ("version", "errors"), [(None, 0), ((20, 2), 1), ((20, 11), 0), ((22, 5), 0), ((19, 12), 1)]
)
def test_an_srun_that_lacks_an_option_is_refused(version: tuple[int, int] | None, errors: int) -> None:
    assert len(list(check_version(version))) == errors


@pytest.mark.parametrize(
    ("nnodes", "nodes", "told"),
    [
        (None, "2", []),
        (2, "2", []),
        (
            4,
            "2",
            [
                "error: cluster.nnodes: 4 hosts do not fit into job 12, which has 2; "
                "lower it, or unset SLURM_JOB_ID to submit a job of its own"
            ],
        ),
    ],
)
def test_a_job_has_the_hosts_that_are_asked_for(nnodes: int | None, nodes: str, told: list[str]) -> None:
    env = {"SLURM_JOB_ID": "12", "SLURM_JOB_NUM_NODES": nodes}
    assert [str(finding) for finding in check_job(cluster(nnodes=nnodes), env)] == told


def test_a_host_without_slurm_is_told_and_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    (found,) = check_slurm(cluster(), env={})
    assert str(found) == (
        "error: cluster.launcher: not on the PATH: 'sbatch', 'srun', 'squeue', 'scontrol', 'scancel' and "
        "'sinfo'; start it on a host where jobs are submitted, or load the module of Slurm"
    )


def test_a_slurm_that_does_not_answer_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo"):
        path = tmp_path / program
        path.write_text("#!/bin/bash\necho 'Unable to contact slurm controller' >&2; exit 1\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (found,) = check_slurm(cluster(), env={})
    assert str(found) == (
        "error: cluster.launcher: sinfo does not answer: Unable to contact slurm controller; "
        "ask again when Slurm is well"
    )
