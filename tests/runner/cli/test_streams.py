"""Answers are on stdout and complaints on stderr; --json is one document; colours only where wanted."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from runner.cli.arguments import VERBS, parse
from runner.cli.say import has_styles
from tests.runner.programme import environment, runner, write_manifest

MANIFEST = "small.toml"
CALLS: dict[str, list[str]] = {
    "plan": [MANIFEST],
    "check": [MANIFEST, "--set", 'cluster.env={ MY_API_KEY = "" }'],
    "preview": [MANIFEST, "--dataset", "mixed"],
    "status": [],
    "list": [],
    "diff": ["small", MANIFEST],
    "doctor": [],
    "explain": ["learning_rate", MANIFEST],
    "test-model": ["runs/small/base/model"],
}
"""Of each verb that has --json, a call that works for the finished programme."""
ESCAPE = "\x1b"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the programme came to its end; read only."""
    folder = tmp_path_factory.mktemp("streams")
    assert runner(folder, write_manifest(folder)).returncode == 0
    return folder


def test_every_verb_with_json_is_looked_at_here(capsys: pytest.CaptureFixture[str]) -> None:
    with_json = set()
    for verb in VERBS:
        with pytest.raises(SystemExit):
            parse([verb, "--help"])
        if "--json" in capsys.readouterr().out:
            with_json.add(verb)
    assert with_json == {*CALLS, "evaluate", "recommend"}  # these two are looked at in test_items.py


@pytest.mark.parametrize("verb", sorted(set(CALLS) - {"test-model", "preview"}))
def test_with_json_stdout_is_one_document_and_nothing_else(finished: Path, verb: str) -> None:
    told = runner(finished, verb, *CALLS[verb], "--json")
    assert isinstance(json.loads(told.stdout), dict | list), told.stderr
    assert ESCAPE not in told.stdout
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "nowhere"],
        ["doctor", "nowhere"],
        ["diff", "small", "nowhere"],
        ["explain", "no_such_key"],
        ["plan", "nowhere.toml"],
        ["preview", MANIFEST, "--dataset", "nowhere"],
        ["test-model", "nowhere"],
    ],
)
def test_a_call_that_is_wrong_says_so_on_stderr_alone(finished: Path, arguments: list[str]) -> None:
    told = runner(finished, *arguments)
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("env", "is_terminal", "expected"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, True, False),
        ({"TERM": "xterm"}, False, False),
    ],
)
def test_colours_are_for_terminals_that_want_them(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], is_terminal: bool, expected: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    assert has_styles() is expected


def on_terminal(folder: Path, *arguments: str, **env: str) -> str:
    """What a verb writes to a terminal."""
    ours, theirs = pty.openpty()
    inherited = {name: value for name, value in environment().items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-m", "runner", *arguments],
        cwd=folder,
        env={**inherited, **env},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    with suppress(OSError):  # the other end was closed
        while part := os.read(ours, 4096):
            seen += part
    os.close(ours)
    assert process.wait(20) == 0
    return seen.decode()


def without_times(text: str) -> list[str]:
    """The words of a text, but for those that go with the clock."""
    return re.sub(r"\b[0-9]+(\.[0-9]+)?s\b", "", text).split()


@pytest.mark.parametrize("verb", ["status", "list", "doctor"])
def test_a_terminal_without_colours_gets_the_text_of_a_pipe(finished: Path, verb: str) -> None:
    plain = on_terminal(finished, verb, TERM="dumb")
    assert ESCAPE not in plain
    assert ESCAPE not in on_terminal(finished, verb, TERM="xterm", NO_COLOR="1")
    assert without_times(plain) == without_times(runner(finished, verb).stdout)
    coloured = on_terminal(finished, verb, TERM="xterm")
    assert (ESCAPE in coloured) == (verb == "status")
