"""Programs of the trainer that a person asks for beside a run: convert one checkpoint, test one model folder.

They take no lock and write only into folders of their own, so they work while the run goes on.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from onerec.config import (
    ConvertConfig,
    ModelTest,
    ShardConfig,
    StepConfig,
    TestModelConfig,
    dump_config,
    load_cases,
)
from onerec.errors import ConfigError
from runner.launch.environment import is_scrubbed
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
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Export:
    """How weights are written."""

    dtype: Dtype
    max_shard_gigabytes: float
    """Size in 10**9 bytes above which a new file is begun."""


def convert(
    run: RunDir, *, step: int | None, stage: str | None, export: Export, env: Mapping[str, str]
) -> tuple[int, Path]:
    """Convert the checkpoint of one step; returns the exit code and the converted folder.

    Without `stage` it is the only one that has that step. Raises ConfigError listing the steps there are.
    """
    planned = _conversions(run)
    step, name = _stage_with(step, run=run, stages=list(planned), stage=stage)
    home, template = run.stage(name), planned[name].config
    assert isinstance(template, ConvertConfig)
    records = home.conversion(step)
    changed = {"step": step, "link": None, "output_dir": str(records.path), **vars(export)}
    code = run_program(template.model_copy(update=changed), records, env=env)
    return code, home.converted_checkpoint(step, export.dtype)


def convert_outside(
    source: Path | None,
    model_dir: Path | None,
    output: Path | None,
    *,
    step: int | None,
    export: Export,
    env: Mapping[str, str],
) -> tuple[int, Path]:
    """Convert a checkpoint that belongs to no run; returns the exit code and the converted folder.

    Raises ConfigError for a call that lacks one of the three places, or names one that is not there.
    """
    if source is None or model_dir is None or output is None:
        raise ConfigError("a checkpoint outside of a run needs all of --from, --model-dir and --output")
    if not (model_dir / "config.json").is_file():
        raise ConfigError(f"{model_dir} has no config.json; name the Hugging Face folder of the model")
    with tempfile.TemporaryDirectory(prefix="runner-convert-") as folder:
        config = ConvertConfig(
            output_dir=folder,
            checkpoint_dir=str(source.absolute()),
            target_dir=str(output.absolute()),
            step=step,
            model_dir=str(model_dir.absolute()),
            base_model=model_dir.absolute().name,
            **vars(export),
        )
        return run_program(config, StepDir(Path(folder)), env=env), output


def examine(
    model_dir: Path,
    *,
    cases: Path | None = None,
    max_new_tokens: int | None = None,
    device: Device = "auto",
    env: Mapping[str, str],
) -> tuple[int, dict[str, object]]:
    """Test a Hugging Face folder; returns the exit code and the test's report. The folder stays as it is.

    Raises ConfigError for what is no folder, and for a file of test cases with each of its faults.
    """
    if cases is not None:
        load_cases(cases)
    if not model_dir.is_dir():
        raise ConfigError(
            f"{model_dir} is no folder; name a Hugging Face model folder, such as one converted/"
        )
    with tempfile.TemporaryDirectory(prefix="runner-test-model-") as folder:
        home = StepDir(Path(folder))
        test = ModelTest(
            test_cases=None if cases is None else str(cases.resolve()),
            max_new_tokens=max_new_tokens or ModelTest().max_new_tokens,
        )
        config = TestModelConfig(
            output_dir=folder, model_dir=str(model_dir.resolve()), test=test, device=device
        )
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


def _stage_with(step: int | None, *, run: RunDir, stages: list[str], stage: str | None) -> tuple[int, str]:
    if stage is not None and stage not in stages:
        raise ConfigError(f"no training stage {stage!r}; the training stages are {', '.join(stages)}")
    found = {name: run.stage(name).checkpoints() for name in ([stage] if stage else stages)}
    if step is None:
        raise ConfigError(f"name a step with --step; complete checkpoints of {run.path} are {_listed(found)}")
    having = [name for name, steps in found.items() if step in steps]
    if len(having) == 1:
        return step, having[0]
    if having:
        raise ConfigError(f"step {step} is in {' and in '.join(having)}; choose one with --stage")
    told = f"no checkpoint of step {step} in {run.path}; complete checkpoints are {_listed(found)}"
    raise ConfigError(told)


def _listed(found: Mapping[str, Sequence[int]]) -> str:
    return "; ".join(f"{name}: {', '.join(map(str, steps)) or 'none'}" for name, steps in found.items())


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
