"""Devices that tests run on: the same body on the CPU and, where there is one, on a GPU."""

import os
import time

import pytest
import torch

from onerec.distributed import World, process_group
from onerec.train.determinism import make_deterministic
from tests.benchmarks.gpu_rows.gauge import Gauge
from tests.benchmarks.gpu_rows.lab import Lab
from tests.benchmarks.gpu_rows.sizes import REHEARSAL

GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # torch's kernels warn in the name of whoever calls
]

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read once, at the first matrix product


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=GPU)])
def device(request):
    """Where the test runs."""
    return torch.device(request.param, 0) if request.param == "cuda" else torch.device(request.param)


@pytest.fixture
def repeatable():
    """Only kernels that give the same bits each time, for tests that compare bits."""
    make_deterministic()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def lab(device, tmp_path):
    """A workplace with tiny models and packs on the device, in a group of one rank."""
    workplace = Lab(
        sizes=REHEARSAL,
        gauge=Gauge(device),
        folder=tmp_path,
        tell=print,
        deadline=time.monotonic() + 600,
        checkpointing="none",
    )
    with process_group(World(0, 1, 0, 1, "single"), device=device, env={}):
        yield workplace
        workplace.keep_only()
