"""What the programs of Slurm print is understood, and what they refuse is passed on in their words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runner.slurm import ask
from runner.slurm.ask import Partition, SlurmError


@pytest.mark.parametrize(
    ("told", "job"), [("12\n", "12"), ("12;cluster\n", "12"), ("", None), ("Submitted batch job 12", None)]
)
def test_the_id_of_a_new_job(told: str, job: str | None) -> None:
    assert ask.parse_job(told) == job


@pytest.mark.parametrize(
    ("told", "version"),
    [("slurm-wlm 22.05.8\n", (22, 5)), ("slurm 24.11.0-rc1\n", (24, 11)), ("pbs 1", None), ("", None)],
)
def test_versions(told: str, version: tuple[int, int] | None) -> None:
    assert ask.parse_version(told) == version


def test_partitions_of_several_kinds_of_hosts_are_one_each() -> None:
    told = (
        "gpu|up|2-00:00:00|4|gpu:a100:8(S:0-1)\n"
        "gpu|up|2-00:00:00|2|gpu:v100:4,gpu:a100:2,nic:1\n"
        "cpu|down|infinite|10|(null)\n"
        "odd\n"
    )
    assert ask.parse_partitions(told) == (
        Partition("gpu", True, "2-00:00:00", 6, 8),
        Partition("cpu", False, "infinite", 10, 0),
        Partition("odd", False, "", 0, 0),
    )


def test_each_host_has_one_address_however_many_partitions_it_is_in() -> None:
    told = "node1|10.0.0.1\nnode1|10.0.0.1\nnode2|n2-ib\n\n"
    assert ask.parse_addresses(told) == ("10.0.0.1", "n2-ib")


def test_steps_by_name() -> None:
    told = "12.0|small-first-1-ab.540a8a28a405\n12.batch|batch\n\n"
    assert ask.parse_steps(told) == [("12.0", "small-first-1-ab.540a8a28a405"), ("12.batch", "batch")]


def fake(folder: Path, program: str, script: str) -> None:
    path = folder / program
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "state"),
    [
        ("echo PENDING", "PENDING"),
        ("true", None),
        ("echo 'error: Invalid job id specified' >&2; exit 1", None),
    ],
)
def test_the_state_of_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, state: str | None
) -> None:
    fake(tmp_path, "squeue", script)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert ask.job_state("12") == state


def test_who_does_not_answer_is_not_taken_to_say_that_there_is_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, "squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    fake(tmp_path, "sbatch", "echo 'invalid account' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(SlurmError, match="squeue does not answer: Unable to contact slurm controller"):
        ask.job_state("12")
    with pytest.raises(
        SlurmError, match=r"sbatch refused the job: invalid account; correct \[cluster.slurm\]"
    ):
        ask.submit(tmp_path, "sbatch.sh", env=os.environ)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SlurmError, match="scancel is not on the PATH; start it on a host where"):
        ask.cancel("12")
