from __future__ import annotations

import os
import sys

from runner.environment import describe


def test_versions_and_host_are_told_and_of_the_variables_only_those_on_the_list() -> None:
    found = describe({"OMP_NUM_THREADS": "1", "AWS_SECRET_ACCESS_KEY": "secret"})
    assert found["env"] == {"OMP_NUM_THREADS": "1"}
    assert (found["python"], found["host"]) == (sys.version, os.uname().nodename)
    packages = found["packages"]
    assert isinstance(packages, dict)
    assert packages["torch"]
