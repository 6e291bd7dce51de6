"""Hostile names run no command and do not reach the terminal: a whole run among them, seen from outside."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from runner.cli.say import as_json
from runner.rundir import RunDir
from tests.runner.programme import PYTHONPATH, environment, runner, write_manifest

COMMANDS = "$(touch canary);touch canary;`touch canary`'\" & "
FOLDER = f"a {COMMANDS}\x1b[2J\x9b2J\u202e\n-oProxyCommand=touch canary"
OUTPUT = "out $(touch canary);touch canary'"


@pytest.fixture(scope="module")
def among_hostile_names(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder whose name is an attack, and what the run in it told."""
    folder = tmp_path_factory.mktemp("hostile") / FOLDER
    folder.mkdir()
    path = write_manifest(folder)
    env = f'env = {{ HOSTILE = """{COMMANDS.strip()}""", '
    path.write_text(path.read_text().replace("env = {", env).replace('"runs"', f'"{OUTPUT}"'))
    ended = runner(folder, path.name)
    assert ended.returncode == 0, ended.stderr
    return folder, ended.stdout + ended.stderr


def canaries(folder: Path) -> list[Path]:
    return list(folder.parent.rglob("canary"))


def assert_harmless(text: str) -> None:
    assert text == "".join(mark for mark in text if mark.isprintable() or mark in "\n\t")


def test_a_run_among_hostile_names_runs_none_of_them(among_hostile_names: tuple[Path, str]) -> None:
    folder, told = among_hostile_names

    assert_harmless(told)
    assert canaries(folder) == []


@pytest.mark.parametrize(
    "call",
    [
        ["plan", "small.toml"],
        ["plan", "small.toml", "--json"],
        ["check", "--fast", "small.toml"],
        ["status", "RUN"],
        ["status", "RUN", "--json"],
        ["doctor", "RUN"],
        ["logs", "RUN"],
        ["list", "RUN/.."],
        ["report", "RUN"],
        ["diff", "RUN", "small.toml"],
        ["stop", "RUN"],
        ["resume", "RUN"],
        ["convert", "RUN", "--step", "9"],
    ],
    ids=" ".join,
)
def test_no_verb_lets_a_name_control_the_terminal(
    among_hostile_names: tuple[Path, str], call: list[str]
) -> None:
    folder, _ = among_hostile_names
    run = str(folder / OUTPUT / "small")
    ended = runner(folder, *(word.replace("RUN", run) for word in call))

    assert ended.returncode == (2 if call[0] == "convert" else 0), ended.stderr
    assert_harmless(ended.stdout + ended.stderr)
    if "--json" in call:
        found = json.loads(ended.stdout)
        assert FOLDER in found["path"] if call[0] == "plan" else found["state"] == "done"
    assert canaries(folder) == []


def test_the_script_of_a_step_runs_no_name_either(among_hostile_names: tuple[Path, str]) -> None:
    folder, _ = among_hostile_names
    script = RunDir(folder / OUTPUT / "small").stage("test").command
    env = {**environment(), "PYTHONPATH": PYTHONPATH}
    ended = subprocess.run(
        ["bash", script], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 0, ended.stderr
    assert canaries(folder) == []


@pytest.mark.parametrize("launcher", ["torchrun", "mpirun"])
@pytest.mark.parametrize(
    "host", ["-oProxyCommand=touch${IFS}canary", "$(touch${IFS}canary)", "a;b", "\x1b[2J"]
)
def test_a_hostile_host_is_refused_before_anything_starts(launcher: str, host: str, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path)
    (tmp_path / "hosts").write_text(f"localhost slots=1\n{host} slots=1\n")
    hosts = ["--set", f"cluster.launcher={launcher}", "--set", "cluster.hostfile=hosts"]
    ended = runner(tmp_path, manifest, *hosts, "--set", "cluster.nproc_per_node=1")

    assert ended.returncode == 3
    assert "is no name of a host" in ended.stdout + ended.stderr
    assert_harmless(ended.stdout + ended.stderr)
    assert canaries(tmp_path) == []
    assert not (tmp_path / "runs/small/made").exists()


def test_json_that_is_shown_holds_nothing_a_terminal_obeys_and_loses_nothing() -> None:
    document = {"a\x7f": "\x9b2J\u202e\x1b\U000e0001 文字\udcff\n"}
    text = as_json(document)

    assert_harmless(text)
    assert "文字" in text
    assert json.loads(text) == document
