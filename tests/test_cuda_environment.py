"""Settings of CUDA: ours where a person has set nothing, and determinism only where it is asked for."""

import subprocess
import sys

import pytest

from onerec.cuda_environment import set_defaults

GROWING = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}


@pytest.mark.parametrize(
    ("env", "deterministic", "expected"),
    [
        ({}, False, GROWING),
        ({"PYTORCH_CUDA_ALLOC_CONF": "backend:native"}, False, {"PYTORCH_CUDA_ALLOC_CONF": "backend:native"}),
        ({"PYTORCH_ALLOC_CONF": ""}, False, {"PYTORCH_ALLOC_CONF": ""}),
        ({}, True, {**GROWING, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}),
        (
            {"CUBLAS_WORKSPACE_CONFIG": ":16:8"},
            True,
            {**GROWING, "CUBLAS_WORKSPACE_CONFIG": ":16:8"},
        ),
    ],
)
def test_what_a_person_has_set_stays(env, deterministic, expected):
    set_defaults(env, deterministic=deterministic)
    assert env == expected


def test_it_is_set_before_torch_is_loaded():
    script = "import sys, onerec.__main__; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
