"""A run directory that has seen everything, as the runner and the trainer write it; nothing is trained."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

from runner.journal import Journal
from runner.rundir import RunDir, StepDir

HOSTILE = (
    "</script><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>'\"&\x1b[31m\u202e"
)
OWNER = {"host": "host1", "boot_id": "no such boot", "pid": 4711, "start_ticks": 6}
DIGEST = "0" * 64


def make_run(
    folder: Path, *, rows: int = 300, source: str = "history", words: str = "CUDA out of memory"
) -> RunDir:
    """A run with data, a base model and two stages; the second was killed, failed, and goes on in vain."""
    run = RunDir(folder / "small")
    steps = [
        _step("data", "build_data", output_dir="data/rows"),
        _step("base", "init_model"),
        _step("prepare:mixed", "prepare", stage="mixed", folder="data/mixed"),
        _step("first", "train"),
        _step("first:convert", "convert", stage="first", folder="first/convert"),
        _step("second", "train"),
        _step("second:convert", "convert", stage="second", folder="second/convert"),
        _step("test", "test_model"),
    ]
    _write_files(run, rows=rows, source=source)
    journal = Journal(run.events)
    asked = {"steps": steps, "manifest_dir": "/", "overrides": ["seed=2", f"name={source}"]}
    environments = [
        {"host": "host1", "packages": {"torch": version}, "time": version} for version in ("2.11", "2.13")
    ]
    journal.append(
        "run_started", owner=OWNER, argv=["runner", "a.toml"], environment=environments[0], **asked
    )
    _done(journal, "data", [])
    _done(journal, "base", ["data:rows/pretrain"])
    _done(journal, "prepare:mixed", ["base:model", "data:rows/pretrain"])
    _done(journal, "first", ["base:model", "prepare:mixed:."])
    _done(journal, "first:convert", ["first:.", "base:model"])
    _began(journal, "second", 1, ["first:convert:../converted", "prepare:mixed:."])
    journal.append(
        "run_started", owner=OWNER, argv=["runner", "resume"], environment=environments[1], **asked
    )
    _began(journal, "second", 2, ["first:convert:../converted", "prepare:mixed:."])
    failure = {
        "kind": "out_of_gpu_memory",
        "rank": 3,
        "host": "host2",
        "exception": f"OutOfMemoryError: {words}",
    }
    journal.append(
        "step_ended",
        step="second",
        state="failed",
        exit_code=1,
        reason=f"rank 3 on host2 exited 1: {words}",
        seconds=61.0,
        result={},
        failure=failure,
    )
    logs = run.stage("second")
    _write(logs.failure(2), {**failure, "last_lines": ["Traceback (most recent call last):", words]})
    _began(journal, "second", 3, ["first:convert:../converted", "prepare:mixed:."])
    journal.close()
    return run


def _step(name: str, kind: str, *, stage: str = "", folder: str = "", output_dir: str = "") -> dict[str, str]:
    folder = folder or name
    return {
        "name": name,
        "kind": kind,
        "stage": stage or name,
        "folder": folder,
        "output_dir": output_dir or folder,
    }


def _began(journal: Journal, step: str, attempt: int, reads: list[str]) -> None:
    ingredients = {f"reads.{number}.x": f"{read}@{DIGEST}" for number, read in enumerate(reads)}
    argv = [["torchrun", "-m", "onerec", f"/runs/{step}/config.json", "a b"]]
    journal.append(
        "step_started", step=step, attempt=attempt, fingerprint="f", ingredients=ingredients, argv=argv
    )


def _done(journal: Journal, step: str, reads: list[str]) -> None:
    _began(journal, step, 1, reads)
    journal.append("step_ended", step=step, state="done", exit_code=0, reason=None, seconds=12.0, result={})


def _write_files(run: RunDir, *, rows: int, source: str) -> None:
    run.path.mkdir(parents=True)
    run.manifest.write_text(f'name = "small"\n# {source}\n')
    (run.path / "manifest.1.toml").write_text('name = "small"\nseed = 1\n')
    stages = {
        "first": {"kind": "train", "learning_rate": 1e-3},
        "second": {"kind": "train", "dataset": source},
    }
    _write(run.resolved, {"name": "small", "seed": 2, "stages": stages, "model": {"base_model_dir": None}})
    _write(run.environment, {"host": "host1", "packages": {"torch": "2.13"}, "gpus": [source]})
    _write(run.stage("base").result, {"attempt": 1, "parameters": 225920, "report": [f"a Qwen3 {source}"]})
    counts = {"samples": 10, "tokens": 75, "trained_tokens": 70, "itemic_tokens": 60, "overlong_dropped": 1}
    _write(
        run.dataset("mixed").summary,
        {
            "rows": 20,
            "samples": 18,
            "tokens": 100,
            "rejected": 2,
            "rejects": {f"no messages {source}": 2},
            "sources": {source: counts, "chat": {**counts, "tokens": 25}},
            "packing": {"packs_per_epoch": 7, "padding_fraction": 0.002},
        },
    )
    for name, seed in (("first", 1), ("second", 2)):
        _write_stage(run.stage(name), rows=rows, source=source, seed=seed)
    result = {
        "step": rows,
        "total_steps": rows,
        "loss": 0.25,
        "reason": "max_steps",
        "counts": {source: [75, 10]},
    }
    _write(run.stage("first").result, {"attempt": 1, **result})


def _write_stage(home: StepDir, *, rows: int, source: str, seed: int) -> None:
    pick = random.Random(seed)
    home.path.mkdir(parents=True)
    with home.metrics.open("w") as file:
        file.writelines(json.dumps(_row(step, rows, source, pick)) + "\n" for step in range(1, rows + 1))
    with home.validation.open("w") as file:
        for step in range(rows // 5, rows + 1, rows // 5):
            row = {"step": step, "loss": 8 / math.sqrt(step) + 0.4, "source_loss": {source: 0.5}}
            file.write(json.dumps(row) + "\n")
    _write(home.progress, {"done": rows, "total": 2 * rows, "unit": "steps", "loss": 0.5})
    for step in (rows // 2, rows):
        sizes = {f"global_step{step}/model/__0_0.distcp": 3_000_000}
        _write(home.commit_record(step), {"step": step, "bytes": sizes, "sha256": {}})
    home.converted_checkpoint(rows).mkdir(parents=True)
    home.latest.write_text(f"step{rows}")
    (home.path / "step7.quarantined-1").mkdir()
    home.command.write_text("#!/bin/sh\n")


def _row(step: int, rows: int, source: str, pick: random.Random) -> dict[str, Any]:
    loss = 8 / math.sqrt(step) + pick.random() / 10
    if step == rows * 2 // 3:
        loss = 9.75  # a spike that has to stay visible
    if step == rows // 3:
        loss = math.nan
    return {
        "step": step,
        "loss": loss,
        "itemic_loss": loss * 0.9,
        "text_loss": loss * 1.2,
        "learning_rate": 1e-3 * (1 - step / rows) + 1e-5,
        "grad_norm": pick.lognormvariate(0, 0.4),
        "tokens_per_second": 16000 + 500 * pick.random(),
        "trained_tokens_per_second": 15000.0,
        "mfu": 0.4 + pick.random() / 50,
        "data_wait": 0.005 * pick.random(),
        "memory_gib": 61.2,
        "total_tokens": 4096 * step,
        "time": 1.0e9 + step,
        "source_loss": {source: loss, "chat": loss * 1.1, **{f"source {n}": loss + n for n in range(9)}},
    }


def _write(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
