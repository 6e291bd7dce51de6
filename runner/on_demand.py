"""Programs of the trainer that a person asks for beside a run: convert one checkpoint, test one model folder.

They take no lock and write only into folders of their own, so they work while the run goes on.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from onerec.config import ConvertConfig, ModelTest, ShardConfig, StepConfig, TestModelConfig, dump_config
from onerec.errors import ConfigError
from runner.launch import is_scrubbed
from runner.manifest import restore
from runner.observe import read_document
from runner.plan import plan
from runner.rundir import StepDir
from runner.toolchain import passed_on

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.rundir import RunDir
    from runner.steps import Step

Dtype = Literal["bf16", "fp16", "fp32"]


def convert(
    run: RunDir, *, step: int, stage: str | None, dtype: Dtype, env: Mapping[str, str]
) -> tuple[int, Path]:
    """Convert the checkpoint of one step; returns the exit code and the converted folder.

    Without `stage` it is the only one that has that step. Raises ConfigError listing the steps there are.
    """
    planned = _conversions(run)
    name = _stage_with(step, run=run, stages=list(planned), stage=stage)
    home, template = run.stage(name), planned[name].config
    assert isinstance(template, ConvertConfig)
    records = home.conversion(step)
    changed = {"step": step, "dtype": dtype, "link": None, "output_dir": str(records.path)}
    code = run_program(template.model_copy(update=changed), records, env=env)
    return code, home.converted_checkpoint(step, dtype)


def examine(model_dir: Path, *, env: Mapping[str, str]) -> tuple[int, dict[str, object]]:
    """Test a Hugging Face folder; returns the exit code and the test's report. The folder stays as it is."""
    if not model_dir.is_dir():
        raise ConfigError(
            f"{model_dir} is no folder; name a Hugging Face model folder, such as one converted/"
        )
    with tempfile.TemporaryDirectory(prefix="runner-test-model-") as folder:
        home = StepDir(Path(folder))
        config = TestModelConfig(output_dir=folder, model_dir=str(model_dir.resolve()), test=ModelTest())
        code = run_program(config, home, env=env, shows_output=False)
        return code, read_document(home.path / "test_report.json")


def shard(
    sources: Sequence[str],
    *,
    output: Path,
    rows_per_file: int,
    max_reject_fraction: float,
    env: Mapping[str, str],
) -> int:
    """Merge and split parquet trees into a new folder; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="runner-shard-") as folder:
        config = ShardConfig(
            output_dir=str(output.absolute()),
            sources=tuple(sources),
            rows_per_file=rows_per_file,
            max_reject_fraction=max_reject_fraction,
        )
        return run_program(config, StepDir(Path(folder)), env=env)


def _conversions(run: RunDir) -> dict[str, Step]:
    """The planned conversion of each training stage, by stage."""
    manifest = restore(run.resolved.read_bytes())
    steps = plan(manifest, run=run, identities={}).steps
    return {step.stage: step for step in steps if step.kind == "convert"}


def _stage_with(step: int, *, run: RunDir, stages: list[str], stage: str | None) -> str:
    if stage is not None and stage not in stages:
        raise ConfigError(f"no training stage {stage!r}; the training stages are {', '.join(stages)}")
    found = {name: run.stage(name).checkpoints() for name in ([stage] if stage else stages)}
    having = [name for name, steps in found.items() if step in steps]
    if len(having) == 1:
        return having[0]
    if having:
        raise ConfigError(f"step {step} is in {' and in '.join(having)}; choose one with --stage")
    there = "; ".join(f"{name}: {', '.join(map(str, steps)) or 'none'}" for name, steps in found.items())
    raise ConfigError(f"no checkpoint of step {step} in {run.path}; complete checkpoints are {there}")


def run_program(
    config: StepConfig, home: StepDir, *, env: Mapping[str, str], shows_output: bool = True
) -> int:
    """Run one program of the trainer to its end, here and alone; its complaints are seen as they come."""
    home.path.mkdir(parents=True, exist_ok=True)
    home.config.write_text(dump_config(config), encoding="utf-8")
    inherited = {name: value for name, value in env.items() if not is_scrubbed(name)}
    program = [sys.executable, "-m", "onerec", str(home.config)]
    stdout = None if shows_output else subprocess.DEVNULL
    done = subprocess.run(program, env={**inherited, **passed_on(env)}, stdout=stdout, check=False)
    return done.returncode
