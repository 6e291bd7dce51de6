from __future__ import annotations

import os
import shutil
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path

import pytest

from onerec.errors import ConfigError
from onerec.network import interface_towards
from runner.hosts import Host
from runner.manifest.tables import Cluster
from runner.toolchain import (
    addresses_of,
    find_toolchain,
    network_of,
    passed_on,
    read_hosts,
    torchrun_flags,
)
from tests.runner.programme import ROOT


def test_what_is_here_is_found() -> None:
    found = find_toolchain(Cluster(), hosts=(), env={"CUDA_VISIBLE_DEVICES": "0,2"})
    assert (found.python, found.host, found.gpus) == (sys.executable, os.uname().nodename, 2)
    assert found.cores >= 1
    assert found.mpirun is None  # not looked for: nobody asked


@pytest.mark.parametrize(("visible", "gpus"), [("", 0), ("-1", 0), ("0", 1), ("GPU-a,GPU-b", 2)])
def test_gpus_are_those_that_are_visible(visible: str, gpus: int) -> None:
    assert find_toolchain(Cluster(), hosts=(), env={"CUDA_VISIBLE_DEVICES": visible}).gpus == gpus


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="needs mpirun")
def test_the_major_version_of_open_mpi_is_found() -> None:
    found = find_toolchain(Cluster(launcher="mpirun"), hosts=(), env={})
    assert found.mpirun_major in {4, 5}


@pytest.mark.skipif(interface_towards(["8.8.8.8"]) is None, reason="needs a route out of this host")
def test_the_network_is_shared_with_the_hosts_or_leads_to_a_router() -> None:
    way = interface_towards(["8.8.8.8"])
    neighbour = str(next(host for host in ip_network(way.network).hosts() if str(host) != way.address))
    assert network_of(["127.0.0.1", way.address, neighbour]) == way.network
    assert network_of([neighbour, "8.8.8.8"]) == way.name


def test_no_network_is_told_where_there_is_no_other_host() -> None:
    assert network_of([]) is None
    assert network_of(["127.0.0.1", "127.0.0.2"]) is None


@pytest.mark.skipif(interface_towards(["8.8.8.8"]) is None, reason="needs a route out of this host")
def test_others_reach_this_host_by_the_address_on_the_way_to_them() -> None:
    own = interface_towards(["8.8.8.8"]).address
    hosts = (Host("localhost"), Host("8.8.8.8"), Host("no-such-host.invalid"))
    assert addresses_of(hosts) == {"localhost": own, "8.8.8.8": "8.8.8.8"}
    found = find_toolchain(Cluster(launcher="torchrun"), hosts=hosts, env={})
    assert found.own_names == {"localhost"}


def test_the_flags_of_torchrun_are_those_that_it_knows() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--help"], capture_output=True, text=True, check=True
    ).stdout
    flags = torchrun_flags()
    assert {"--nnodes", "--local-addr", "--rdzv-conf", "--log-dir"} <= flags
    assert all(flag in told for flag in flags)


def test_the_package_s_folder_goes_before_the_caller_s_path() -> None:
    found = passed_on({"PYTHONPATH": "/mine", "OMP_NUM_THREADS": "3", "HOME": "/root"})
    assert found == {"PYTHONPATH": f"{ROOT}:/mine", "OMP_NUM_THREADS": "3"}


def test_hosts_come_from_the_hostfile(tmp_path: Path) -> None:
    hostfile = tmp_path / "hosts"
    hostfile.write_text("one slots=2\ntwo\n")
    assert read_hosts(Cluster(launcher="mpirun", hostfile=str(hostfile))) == (Host("one", 2), Host("two"))
    assert read_hosts(Cluster()) == ()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_hosts(Cluster(launcher="mpirun", hostfile=str(tmp_path / "none")))


def test_a_job_of_slurm_is_seen_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("srun", "exit 1"), ("sinfo", "printf 'n1|10.0.0.1\\nn2|10.0.0.2\\nn3|10.0.0.3\\n'")):
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    slurm = Cluster.model_validate({"launcher": "slurm"})
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "3", "SLURM_JOB_NODELIST": "n[1-3]"}

    found = find_toolchain(slurm, hosts=(), env=job)
    assert (found.srun, found.slurm_nodes) == (str(tmp_path / "srun"), 3)
    assert found.slurm_peers == ("10.0.0.1", "10.0.0.2")

    outside = find_toolchain(slurm, hosts=(), env={"SLURM_JOB_NUM_NODES": "3"})
    assert (outside.srun, outside.slurm_nodes, outside.slurm_peers) == (str(tmp_path / "srun"), None, ())

    other = find_toolchain(Cluster(), hosts=(), env=job)
    assert (other.srun, other.slurm_peers) == (None, ())
