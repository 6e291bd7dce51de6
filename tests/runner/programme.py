"""A small programme whose steps are done by the stand-in trainer, and tools to run it as a person would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PYTHONPATH = os.pathsep.join([str(HERE / "stand_in"), str(ROOT)])
"""For the steps only: the runner itself needs the real onerec.config."""

MANIFEST = """
name = "small"
output_dir = "runs"
seed = 1

[cluster]
launcher = "local"
max_restarts = 0
env = { PYTHONPATH = "%(path)s", STAND_IN = '%(orders)s' }

[datasets.mixed]
sources = { stage = "made", name = "pretrain" }
max_length = 64
num_epochs = 1

[training]
learning_rate = 1e-3

[stages.made]
kind = "build_data"
source = "movielens-100k"

[stages.base]
kind = "init_model"
corpus = [{ stage = "made", name = "pretrain" }]

[stages.expand]
kind = "expand_vocab"

[stages.first]
kind = "train"
dataset = "mixed"

[stages.second]
kind = "train"
dataset = "mixed"

[stages.test]
kind = "test_model"
"""
STEPS = [
    "made",
    "base",
    "expand",
    "prepare:mixed",
    "first",
    "first:convert",
    "second",
    "second:convert",
    "test",
]


def write_manifest(folder: Path, orders: dict[str, object] | None = None) -> Path:
    """The programme in a folder; `orders` are the stand-in's."""
    path = folder / "small.toml"
    path.write_text(MANIFEST % {"path": PYTHONPATH, "orders": json.dumps(orders or {})})
    return path


def runner(folder: Path, *arguments: object, path: str = "") -> subprocess.CompletedProcess[str]:
    """The runner's command line, called in a folder; `path` goes before the PATH."""
    return subprocess.run(
        [sys.executable, "-m", "runner", *map(str, arguments)],
        cwd=folder,
        env={**environment(), "PATH": os.pathsep.join(filter(None, [path, os.environ["PATH"]]))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def start_runner(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """The same, left running."""
    return subprocess.Popen(
        [sys.executable, "-m", "runner", *map(str, arguments)],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def states(folder: Path) -> dict[str, str]:
    """State of each step of the run last started."""
    document = json.loads(runner(folder, "status", "--json").stdout)
    return {stage["name"]: stage["state"] for stage in document["stages"]}


def wait_until(is_true: Callable[[], bool], *, seconds: float = 30) -> None:
    """Poll until something is so; fails when it never is."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.02)
