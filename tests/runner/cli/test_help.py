"""The help of every verb teaches: what it does, examples that can be called, exit codes, verbs beside it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from runner.cli import help  # noqa: A004 - what is tested
from runner.cli.arguments import VERBS, overview, parse, parser_of
from tests.runner.programme import runner


def test_every_verb_has_help_and_a_place_in_the_overview() -> None:
    assert set(help.HELP) == set(VERBS)
    assert sorted(name for names in help.GROUPS.values() for name in names) == sorted(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_teaches(verb: str) -> None:
    text = parser_of(verb).format_help()

    parts = ["usage: runner ", "\nexamples:\n", "\nexit codes:\n", "\nsee also:\n"]
    assert [part for part in parts if part in text] == parts
    told = help.HELP[verb]
    assert 1 <= len(told.examples) <= 3
    assert 0 in told.codes
    assert set(told.related) <= set(VERBS) - {verb}
    assert set(told.codes) <= set(help.CODES)


@pytest.mark.parametrize("example", [command for told in help.HELP.values() for command, _ in told.examples])
def test_every_example_is_a_call_that_is_understood(example: str) -> None:
    words = shlex.split(re.split(r" [<>|] ", example.removeprefix("source <(").removesuffix(")"))[0])

    assert words[0] == "runner"
    assert parse(words[1:]) is not None


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_width_is_that_of_columns(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    commands = {f"  {command}" for told in help.HELP.values() for command, _ in told.examples}

    for text in (overview(), *(parser_of(verb).format_help() for verb in VERBS)):
        too_long = [line for line in text.splitlines() if len(line) > columns and line not in commands]
        assert [line for line in too_long if not line.startswith("usage:")] == []


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("staus", "'staus' is no verb and no manifest; did you mean 'status'?"),
        ("test_model", "'test_model' is no verb and no manifest; did you mean 'test-model'?"),
        ("xyzzy", "'xyzzy' is no verb and no manifest; `runner --help` lists the verbs"),
        ("\x1b[2J", r"'\x1b[2J' is no verb and no manifest; `runner --help` lists the verbs"),
    ],
)
def test_a_misspelt_verb_is_no_manifest(word: str, told: str, tmp_path: Path) -> None:
    ended = runner(tmp_path, word)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"usage: runner MANIFEST | runner VERB ...\nrunner: error: {told}\n"


def test_a_file_that_is_called_like_a_verb_almost_is_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "staus").write_text("name = 1")

    assert "staus:1:1: name: 1 is not a text" in runner(tmp_path, "staus").stderr
    assert "none.toml: cannot be read" in runner(tmp_path, "none.toml").stderr
