from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from onerec.config import ModelTest, StepConfig, TestModelConfig
from onerec.errors import ConfigError
from runner.on_demand import Export, convert, examine
from runner.rundir import RunDir
from tests.runner.programme import PYTHONPATH, runner, write_manifest


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    assert runner(folder, write_manifest(folder)).returncode == 0
    return folder / "runs" / "small"


@pytest.fixture
def run(tmp_path: Path, finished: Path) -> RunDir:
    """A finished run whose first stage has steps 5 and 20, the second 5, 7 and 20."""
    run = RunDir(tmp_path / "small")
    shutil.copytree(finished, run.path, symlinks=True)
    (run.stage("second").path / "step7").mkdir()
    (run.stage("second").path / "step7" / "COMMIT.json").touch()
    return run


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """The caller's environment, with the stand-in for the trainer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("runner.on_demand.passed_on", lambda _: {"PYTHONPATH": PYTHONPATH})
    return {**os.environ, "RUNNER_ATTEMPT": "0"}


def test_the_stage_that_has_the_step_is_found(run: RunDir, env: dict[str, str]) -> None:
    before = run.stage("second").converted.resolve()
    code, folder = convert(run, step=7, stage=None, export=Export("fp32", 5.0), env=env)
    home = run.stage("second")
    assert (code, folder) == (0, home.path / "step7" / "global_step7" / "converted-fp32")
    assert folder.is_dir()
    assert home.converted.resolve() == before
    config = json.loads(home.conversion(7).config.read_text())
    assert (config["dtype"], config["model_dir"]) == ("fp32", str(run.stage("first").converted))
    assert run.events.read_text().count("convert-step7") == 0


@pytest.mark.parametrize(
    ("step", "stage", "message"),
    [
        (6, None, "no checkpoint of step 6 in .*; complete checkpoints are first: 5, 20; second: 5, 7, 20"),
        (7, "first", "no checkpoint of step 7 in .*; complete checkpoints are first: 5, 20"),
        (5, None, "step 5 is in first and in second; choose one with --stage"),
        (5, "third", "no training stage 'third'; the training stages are first, second"),
    ],
)
def test_a_step_that_is_not_there_or_not_clear_is_told(
    run: RunDir, env: dict[str, str], step: int, stage: str | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(run, step=step, stage=stage, export=Export("bf16", 5.0), env=env)


def test_a_model_is_examined_and_its_folder_stays_as_it_is(tmp_path: Path, env: dict[str, str]) -> None:
    model = tmp_path / "model"
    model.mkdir()
    code, result = examine(model, env=env)
    assert (code, result["report"]) == (0, ["test_model was here"])
    assert list(model.iterdir()) == []


def test_what_the_model_test_is_told_of_a_call(
    tmp_path: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[StepConfig] = []
    monkeypatch.setattr("runner.on_demand.run_program", lambda config, *_, **__: told.append(config) or 0)
    (tmp_path / "model").mkdir()
    (tmp_path / "link").symlink_to("model")
    (tmp_path / "cases.json").write_text('[{"name": "a", "kind": "text", "prompt": "b"}]')
    examine(Path("link"), cases=Path("cases.json"), max_new_tokens=7, device="cpu", env=env)
    examine(Path("model"), env=env)
    as_called, by_default = told
    assert isinstance(as_called, TestModelConfig)
    assert isinstance(by_default, TestModelConfig)
    assert as_called.model_dir == by_default.model_dir == str(tmp_path / "model")
    assert (as_called.device, by_default.device) == ("cpu", "auto")
    assert as_called.test == ModelTest(test_cases=str(tmp_path / "cases.json"), max_new_tokens=7)
    assert by_default.test == ModelTest()


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none is no folder"):
        examine(tmp_path / "none", env={})
