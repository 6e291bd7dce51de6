from __future__ import annotations

from pathlib import Path

import pytest

from runner.cli.arguments import VERBS, overview, parse


@pytest.mark.parametrize(
    ("given", "verb", "traceback"),
    [
        (["m.toml"], "run", False),
        (["--set", "seed=1", "m.toml"], "run", False),
        (["--traceback", "m.toml"], "run", True),
        (["run", "m.toml", "--traceback"], "run", True),
        (["--traceback", "status"], "status", True),
    ],
)
def test_a_manifest_alone_is_run_and_a_traceback_may_be_asked_for_anywhere(
    given: list[str], verb: str, traceback: bool
) -> None:
    parsed = parse(given)
    assert parsed is not None
    assert (parsed.verb, parsed.traceback) == (verb, traceback)


@pytest.mark.parametrize("given", [[], ["-h"], ["--help"], ["--traceback"]])
def test_without_a_verb_the_overview_is_wanted(given: list[str]) -> None:
    assert parse(given) is None
    assert all(f"\n  {verb} " in overview() for verb in VERBS)


@pytest.mark.parametrize(
    "given",
    [
        ["convert", "small", "--step", "5", "--stage", "first"],
        ["convert", "--step", "5", "small", "--stage", "first"],
        ["convert", "--stage", "first", "--step", "5", "small"],
    ],
)
def test_the_run_may_stand_anywhere(given: list[str]) -> None:
    parsed = parse(given)
    assert parsed is not None
    assert (parsed.run, parsed.step, parsed.stage, parsed.dtype) == ("small", 5, "first", "bf16")


def test_settings_and_stages_to_run_again_may_be_repeated() -> None:
    parsed = parse(["--set", "a=1", "m.toml", "--rerun", "x", "--set", "b=2", "--rerun", "y"])
    assert parsed is not None
    assert (parsed.manifest, parsed.settings, parsed.rerun) == (Path("m.toml"), ["a=1", "b=2"], ["x", "y"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["run"], "the following arguments are required: MANIFEST"),
        (["convert", "--step", "many"], "argument --step: invalid int value: 'many'"),
        (["convert", "--step", "5", "--dtype", "int8"], "argument --dtype: invalid choice: 'int8'"),
        (["status", "--wat"], "unrecognized arguments: --wat"),
        (["m.toml", "--res"], "unrecognized arguments: --res"),
    ],
)
def test_a_wrong_call_ends_with_2_and_a_message(
    given: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(given)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
