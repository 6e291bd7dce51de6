"""C18: `runner status` and `runner plan`, process start to end, beside a Python that does nothing.

Status is of a run whose training stage has 100,000 logged steps; plan is of the largest manifest there is.
The row is void when a verb fails, or loads torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from runner.rundir import RunDir
from tests.benchmarks.environment import Bench
from tests.benchmarks.harness import Line, Lines, Void, at_most, benchmark, figure, in_turn
from tests.runner.programme import runner, write_manifest

TITLE = "an answer of the command line"
ROOT = Path(__file__).parents[2]
LARGEST = max((ROOT / "manifests").glob("*.toml"), key=lambda path: path.stat().st_size)
LOGGED_STEPS = 100_000


@benchmark("C18", TITLE, needs_peers=False)
def answer(bench: Bench) -> Lines:
    """Both verbs."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        runner(folder, write_manifest(folder))
        _log_steps(RunDir(folder / "runs" / "small"))
        status, plan = ("-m", "runner", "status"), ("-m", "runner", "plan", str(LARGEST))
        runs = in_turn(
            {
                "python -c pass": lambda: _timed(folder, "-c", "pass"),
                "status": lambda: _timed(folder, *status),
                "plan": lambda: _timed(folder, *plan),
            },
            repeats=bench.times(9),
        )
        for verb in (status, plan):
            _require_no_torch(folder, *verb)
    nothing = figure("python -c pass", runs["python -c pass"])
    yield Line(
        f"runner status, {LOGGED_STEPS:,} logged steps",
        figure("ours", runs["status"]),
        nothing,
        at_most(0.25, "s"),
    )
    yield Line(f"runner plan {LARGEST.name}", figure("ours", runs["plan"]), nothing, at_most(0.4, "s"))


def _log_steps(run: RunDir) -> None:
    row = {
        "learning_rate": 1e-4,
        "grad_norm": 1.0,
        "tokens_per_second": 1000.0,
        "source_loss": {"a": 2.0, "b": 3.0},
    }
    with run.stage("second").metrics.open("w", encoding="utf-8") as file:
        for step in range(1, LOGGED_STEPS + 1):
            file.write(json.dumps({"step": step, "loss": 5.0 / step**0.1, **row}) + "\n")


def _timed(folder: Path, *arguments: str) -> dict[str, Any]:
    began = time.perf_counter()
    _called(folder, *arguments)
    return {"seconds": time.perf_counter() - began}


def _called(folder: Path, *arguments: str) -> str:
    """Its stderr."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Void(f"{arguments} ended with {done.returncode}: {done.stderr[-300:]}")
    return done.stderr


def _require_no_torch(folder: Path, *arguments: str) -> None:
    modules = {
        line.rpartition("|")[2].strip()
        for line in _called(folder, "-X", "importtime", *arguments).splitlines()
    }
    if "torch" in modules:
        raise Void(f"{arguments} loads torch")
