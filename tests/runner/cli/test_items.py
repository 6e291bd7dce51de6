"""The verbs evaluate, recommend and encode, as a person calls them, with a stand-in for the trainer."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest

from onerec.config import (
    EncodeItemsConfig,
    EvaluateConfig,
    RecommendConfig,
    StepConfig,
)
from onerec.errors import ConfigError
from runner import recommenders
from runner.cli.arguments import parse
from runner.cli.items import histories
from tests.runner.programme import PYTHONPATH, runner, write_manifest


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    assert runner(folder, write_manifest(folder)).returncode == 0
    return folder


@pytest.fixture
def told(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[StepConfig]:
    """Every config that the stand-in is told, in a folder with the finished run and a model of its own."""
    shutil.copytree(finished / "runs", tmp_path / "runs", symlinks=True)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "qwen3"}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNNER_ATTEMPT", "0")
    monkeypatch.setattr("runner.on_demand.is_scrubbed", lambda _: False)
    monkeypatch.setattr("runner.on_demand.passed_on", lambda _: {"PYTHONPATH": PYTHONPATH})
    configs: list[StepConfig] = []
    run = recommenders.run_program

    def record(config: StepConfig, *places: object, **more: object) -> int:
        configs.append(config)
        return run(config, *places, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(recommenders, "run_program", record)
    return configs


def call(*words: str) -> int:
    parsed = parse(list(words))
    assert parsed is not None
    code = parsed.act(parsed)
    assert isinstance(code, int)
    return code


def test_the_newest_model_of_a_run_is_measured_on_the_data_of_its_run(
    told: list[StepConfig], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--baselines", "popularity,sasrec", "--split", "validation", "--top-k", "5,50", "--json"]
    assert call("evaluate", "small", *words, "--output", "figures.json") == 0
    (config,) = told
    assert isinstance(config, EvaluateConfig)
    run = tmp_path / "runs" / "small"
    assert config.models == {"second": str(run / "second" / "converted")}
    assert (config.built_dir, config.split, config.seed) == (str(run / "made" / "rows"), "validation", 1)
    assert config.add_think_pattern is False
    evaluation = config.evaluation
    assert (evaluation.top_k, evaluation.num_beams) == ((5, 50), 50)
    assert evaluation.baselines == ("popularity", "sasrec")
    shown = json.loads(capfd.readouterr().out)
    assert [row["model"] for row in shown["table"]] == ["second", "popularity", "sasrec"]
    assert json.loads(Path("figures.json").read_text()) == {
        key: value for key, value in shown.items() if key != "schema_version"
    }


@pytest.mark.parametrize("given", ["runs/small/first", "runs/small/first/converted"])
def test_a_stage_or_its_model_folder_is_measured_under_the_name_of_the_stage(
    told: list[StepConfig], given: str
) -> None:
    assert call("evaluate", given) == 0
    (config,) = told
    assert isinstance(config, EvaluateConfig)
    assert list(config.models) == ["first"]
    assert config.built_dir.endswith("runs/small/made/rows")


def test_a_folder_of_its_own_needs_data_and_is_asked_as_its_item_map_says(told: list[StepConfig]) -> None:
    with pytest.raises(ConfigError, match=r"model lies in no run; name the folder rows/ .* with --data"):
        call("evaluate", "model")
    assert call("evaluate", "model", "--data", "runs/small/made/rows") == 0
    (config,) = told
    assert isinstance(config, EvaluateConfig)
    assert list(config.models) == ["model"]
    assert (config.built_dir, config.add_think_pattern) == (
        str(Path("runs/small/made/rows").absolute()),
        None,
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate", "nowhere"], "nowhere is neither a model folder nor a run"),
        (["evaluate", "model", "--output", "none/x.json"], "none is no folder"),
        (
            ["recommend", "model", "--history", " ,"],
            "a history holds no item; write ids of items with commas",
        ),
        (["encode", "small", "none.csv", "--output", "o.parquet"], "none.csv is not there; name a table"),
        (
            ["encode", "model", "items.csv", "--output", "o.parquet"],
            "model is neither a run nor a folder with",
        ),
        (["encode", "small", "items.csv", "--output", "items.csv"], "items.csv is there already"),
        (
            ["encode", "small", "items.csv", "--output", "o", "--stage", "first"],
            "no build_data stage 'first'; it has 'made'",
        ),
        (
            ["encode", "small", "items.csv", "--output", "o", "--column", "pid=x"],
            "no column is called 'pid'; they are 'user', 'item'",
        ),
    ],
)
def test_what_is_not_there_or_not_clear_is_told(
    told: list[StepConfig], words: list[str], message: str
) -> None:
    Path("items.csv").touch()
    with pytest.raises(ConfigError, match=message):
        call(*words)
    assert told == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate", "x", "--baselines", "knn"], "'knn' is none of popularity, item_knn, sasrec"),
        (["evaluate", "x", "--top-k", "5,0"], "'0' is no whole number from 1 on"),
        (["encode", "x", "y", "--output", "z", "--column", "id"], "'id' has no key and name; write such as"),
        (["recommend", "x"], "the following arguments are required: --history"),
    ],
)
def test_a_wrong_call_is_told(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(words)
    assert message in capsys.readouterr().err


def test_a_run_without_a_model_is_told(told: list[StepConfig]) -> None:
    for stage in ("first", "second"):
        Path(f"runs/small/{stage}/converted").unlink()
    with pytest.raises(ConfigError, match="small has no exported model yet; one is there once"):
        call("recommend", "small", "--history", "1")
    assert told == []


def test_a_user_gets_a_table_of_items(
    told: list[StepConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("recommend", "small", "--history", "50, 181,1,3", "--top-k", "2") == 0
    (config,) = told
    assert isinstance(config, RecommendConfig)
    assert config.model_dir == str(tmp_path / "runs" / "small" / "second" / "converted")
    assert (config.histories, config.top_k, config.num_beams) == ((("50", "181", "1", "3"),), 2, 32)
    assert capsys.readouterr().out == (
        "after 181, 1, 3 and 1 before\n"
        "rank  pid  title         score\n"
        "1     7    Seven\\x1b[2J  -0.500\n"
        "2     8                  -1.250\n"
    )


def test_several_users_are_answered_by_one_process_and_may_come_by_stdin(
    told: list[StepConfig], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("1,2\n\n3\n"))
    assert call("recommend", "model", "--history", "9", "--history", "-", "--top-k", "1") == 0
    (config,) = told
    assert isinstance(config, RecommendConfig)
    assert config.histories == (("9",), ("1", "2"), ("3",))
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("user")] == [
        "user 1, after 9",
        "user 2, after 1, 2",
        "user 3, after 3",
    ]
    assert call("recommend", "model", "--history", "9", "--json") == 0
    assert json.loads(capsys.readouterr().out)["users"][0]["items"][0]["pid"] == "7"


def test_histories_have_commas_or_blanks() -> None:
    assert histories(["a b,c"], []) == (("a b", "c"),)
    assert histories(["-"], ["a b\n", " \n", "c\n"]) == (("a", "b"), ("c",))
    with pytest.raises(ConfigError, match="stdin has no history"):
        histories(["-"], ["\n"])


@pytest.mark.parametrize("given", ["small", "runs/small", "runs/small/made", "runs/small/made/rows"])
def test_new_items_are_encoded_with_the_columns_of_the_manifest(
    told: list[StepConfig], given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("new.csv").touch()
    words = ("--output", "new.parquet", "--column", "title=name", "--before", "old.parquet")
    assert call("encode", given, "new.csv", *words) == 0
    (config,) = told
    assert isinstance(config, EncodeItemsConfig)
    assert config.built_dir == str(tmp_path / "runs" / "small" / "made" / "rows")
    assert (config.items, config.target) == (str(tmp_path / "new.csv"), str(tmp_path / "new.parquet"))
    assert (config.columns.id, config.columns.title) == ("item_id", "name")
    assert config.encoded_before == (str(tmp_path / "old.parquet"),)
    assert Path("new.parquet").is_file()
    assert "encoded: new.parquet" in capsys.readouterr().out
