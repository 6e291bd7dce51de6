"""The largest open dataset of this kind, 41 million samples, is planned in bounded time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from onerec.config import Mixture, PreparedDataset
from tests import tiny
from tests.data.stores import order_of

REPOSITORY = Path(__file__).parents[3]
SAMPLES = 41_000_000
WRITE = f"""
import sys
from pathlib import Path
import numpy as np
from tests.data.stores import write_index_only

pick = np.random.default_rng(0)
lengths = np.clip(np.exp(pick.normal(5.7, 1, {SAMPLES})), 8, 32768).astype(np.int32)
sources, hashes = pick.integers(0, 4, {SAMPLES}), pick.integers(0, 2**63, {SAMPLES})
write_index_only(Path(sys.argv[1]), lengths, sources=sources, names="abcd", hashes=hashes)
"""
PLAN = """
import json, sys, time
from onerec.config import DataOrder
from onerec.data.order.plan import open_plan
from onerec.data.store.pool import Pool
from onerec.data.order.selection import plan_training

data = DataOrder.model_validate_json(sys.argv[1])
began = time.monotonic()
planned = plan_training(Pool(data.datasets), data)
seconds = time.monotonic() - began
status = open("/proc/self/status").read()  # ru_maxrss would count the process that started this one
peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
print(json.dumps([len(open_plan(planned.paths[0]).samples), seconds, peak]))
"""


def python(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=REPOSITORY,
        env=tiny.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def store_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("size") / "store"
    python(WRITE, str(folder))
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "fraction"),
    [
        ({}, 0.0),
        ({"mixture": Mixture(weights={"a": 1, "b": 1, "c": 0.5, "d": 3})}, 0.01),
        ({"shuffle_memory_gigabytes": 10.0}, 0.0),
    ],
    ids=["plain", "mixture", "two levels"],
)
def test_41_million_samples_are_planned_in_a_minute_and_a_gigabyte(store_dir, change, fraction):
    rows = PreparedDataset(name="rows", store_dir=store_dir, validation_fraction=fraction)
    data = order_of(rows, max_length=32768, local_shuffle_buffer_size=100_000, **change)
    samples, seconds, peak_bytes = json.loads(python(PLAN, data.model_dump_json()).splitlines()[-1])
    assert samples == pytest.approx(SAMPLES, rel=0.02)
    assert peak_bytes < 10**9
    assert seconds < 3 * 60  # alone on a machine it takes half a minute
