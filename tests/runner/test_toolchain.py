from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from onerec.errors import ConfigError
from runner.hosts import Host
from runner.manifest.tables import Cluster
from runner.toolchain import find_toolchain, interface_to, passed_on, read_hosts
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


@pytest.mark.skipif(shutil.which("ip") is None, reason="needs iproute2")
def test_the_interface_is_that_of_the_route_to_another_host() -> None:
    asked = ["ip", "-j", "route", "get", "192.0.2.1"]
    told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    expected = json.loads(told or "[{}]")[0].get("dev")
    assert interface_to((Host("localhost", 1), Host("192.0.2.1", 1))) == expected


def test_no_interface_is_told_where_there_is_no_other_host() -> None:
    assert interface_to(()) is None
    assert interface_to((Host("localhost", 2), Host("127.0.0.2", 2))) is None


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
