"""A wrong manifest is told to programs too, and a call that fails says so on stderr."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.cli.arguments import VERBS
from tests.runner.programme import runner

WRONG = """\
nam = "x"
[model]
base_model_dir = "m"
[stages.expand]
kind = "expand_vocab"
[stages.a]
kind = "train"
learning_rate = "1e-3"
dataset = "d"
"""
FAULTS = [
    (1, 1, "", "unknown-key", "unknown key 'nam'", "did you mean 'name'?"),
    (8, 1, "stages.a.learning_rate", "wrong-type", '"1e-3" is not a number', "write 1e-3 without quotes"),
    (9, 1, "stages.a.dataset", "broken-rule", "there is no dataset 'd'", "describe it in [datasets.NAME]"),
    (None, None, "", "missing-key", "missing key 'name'", 'add name = "my-run" at the top of the manifest'),
]


@pytest.mark.parametrize(
    "call",
    [
        ["plan", "m.toml"],
        ["check", "m.toml"],
        ["preview", "m.toml", "--dataset", "d"],
        ["explain", "seed", "m.toml"],
    ],
    ids=lambda call: call[0],
)
def test_with_json_the_faults_of_a_manifest_are_a_document(call: list[str], tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(WRONG)
    ended = runner(tmp_path, *call, "--json")

    assert ended.returncode == 2
    assert ended.stderr.startswith("error: m.toml:1:1: unknown key 'nam'; did you mean 'name'?\n")
    keys = ("line", "column", "path", "code", "message", "remedy")
    assert json.loads(ended.stdout) == {
        "faults": [{"file": "m.toml", **dict(zip(keys, fault, strict=True))} for fault in FAULTS]
    }


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (b'name = "a', "syntax", 1),
        (b"\xff", "encoding", 1),
        (b"", "missing-key", None),
        (None, "unreadable", None),
    ],
)
def test_a_file_that_is_no_toml_is_one_fault_with_its_code(
    content: bytes | None, code: str, line: int | None, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "m.toml").write_bytes(content)
    (fault,) = json.loads(runner(tmp_path, "check", "m.toml", "--json").stdout)["faults"]

    assert (fault["code"], fault["line"]) == (code, line)


@pytest.mark.parametrize(
    "verb", [verb for verb in VERBS if verb not in ("new", "schema", "completion", "list")]
)
def test_a_call_that_fails_says_so_on_stderr_alone(verb: str, tmp_path: Path) -> None:
    wrong = {
        "convert": ["--step", "3"],
        "preview": ["gone.toml", "--dataset", "x"],
        "diff": ["gone", "gone2"],
        "explain": ["gone"],
        "shard": ["gone", "--output", "made"],
        "recommend": ["gone", "--history", "1"],
        "encode": ["gone", "gone.csv", "--output", "made.parquet"],
    }.get(verb, ["gone"] if verb == "test-model" else ["gone.toml"])
    ended = runner(tmp_path, verb, *wrong)

    assert ended.returncode != 0
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: ")
    assert "Traceback" not in ended.stderr


def test_what_new_writes_is_told_on_stdout(tmp_path: Path) -> None:
    ended = runner(tmp_path, "new", "movielens")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "movielens.toml\nlook at it, then: runner check movielens.toml\n"
    again = runner(tmp_path, "new", "movielens")
    assert (again.returncode, again.stdout) == (2, "")
    assert "is there already, and is not overwritten" in again.stderr
    assert runner(tmp_path, "schema").stdout.startswith('{\n  "$schema": ')
