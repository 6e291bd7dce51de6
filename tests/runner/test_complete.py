"""What a shell offers at TAB: verbs, options, runs, stages, steps; asked by real shells too."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.cli.arguments import VERBS
from runner.complete import SCRIPTS, candidates
from tests.runner.programme import environment, write_manifest


def make_run(name: str, *, stages: list[str], steps: dict[str, list[int]]) -> None:
    run = Path("runs", name)
    run.mkdir(parents=True)
    (run / "events.jsonl").write_text("")
    (run / "manifest.resolved.json").write_text(json.dumps({"stage_order": stages}))
    for stage, numbers in steps.items():
        for number in numbers:
            folder = run / stage / f"step{number}"
            folder.mkdir(parents=True)
            (folder / "COMMIT.json").write_text("{}")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_run("old", stages=["expand", "sft"], steps={"sft": [5, 10]})
    make_run("new", stages=["expand", "stage1", "stage2"], steps={"stage1": [100], "stage2": [20, 300]})
    make_run("$(touch canary)", stages=[], steps={})
    os.utime("runs/old/events.jsonl", (1, 1))
    Path("runs/latest").symlink_to("new")
    write_manifest(tmp_path)
    Path("more").mkdir()
    Path("more/other.toml").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (["st"], ["status", "stop"]),
        (["com"], ["completion"]),
        (["sm"], ["small.toml"]),
        (["mor"], ["more/"]),
        (["more/"], ["more/other.toml"]),
        (["status", ""], ["new", "old"]),
        (["status", "--w"], ["--watch"]),
        (["convert", "--stage", ""], ["expand", "stage1", "stage2"]),
        (["convert", "old", "--stage", "s"], ["sft"]),
        (["convert", "old", "--step", ""], ["10", "5"]),
        (["convert", "--step", ""], ["300", "100", "20"]),
        (["convert", "--stage", "stage2", "--step", "3"], ["300"]),
        (["convert", "--stage", "../..", "--step", ""], []),
        (["convert", "--dtype", ""], ["bf16", "fp16", "fp32"]),
        (["preview", "small.toml", "--dataset", ""], ["mixed"]),
        (["preview", "--dataset", ""], []),
        (["small.toml", "--rerun", "f"], ["first"]),
        (["run", "small.toml", "--rerun", "se"], ["second"]),
        (["plan", "gone.toml", "--set", ""], []),
        (["completion", ""], ["bash", "zsh", "fish", "words"]),
        (["diff", "old", "n"], ["new"]),
        (["diff", "s"], ["small.toml"]),
        (["shard", "a", "b", ""], []),
        (["nonsense", "--"], ["--help", "--rerun", "--set"]),
        (["status", "gone", "--stage", ""], []),
    ],
    ids=" ".join,
)
def test_what_fits_at_the_cursor(typed: list[str], found: list[str]) -> None:
    assert candidates(["runner", *typed]) == found


def test_every_verb_is_offered_with_its_options() -> None:
    assert candidates(["runner", ""])[: len(VERBS)] == list(VERBS)
    assert candidates(["runner"])[: len(VERBS)] == list(VERBS)
    for verb in VERBS:
        assert "--help" in candidates(["runner", verb, "--"])


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """`runner` as an installed program."""
    path = tmp_path / "bin" / "runner"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m runner "$@"\n')
    path.chmod(0o755)
    return path


def in_shell(shell: str, script: str, program: Path) -> list[str]:
    env = {**environment(), "PATH": os.pathsep.join([str(program.parent), os.environ["PATH"]])}
    argv = {"bash": ["bash", "--norc"], "zsh": ["zsh", "-f"], "fish": ["fish", "--no-config"]}[shell]
    done = subprocess.run(
        [*argv, "-c", script], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


BASH = """\
source <(runner completion bash)
complete -p runner >/dev/null || exit 1
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_runner
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("runner st", ["status", "stop"]),
        ("runner convert --step ''", ["300", "100", "20"]),
        ("runner convert --stage stage2 --step ''", ["300", "20"]),
        ("runner status '*'", [""]),
        ("runner status ''", ["new", "old"]),
    ],
)
def test_a_real_bash_completes(words: str, found: list[str], program: Path) -> None:
    assert in_shell("bash", BASH.format(words=words), program) == found
    assert not Path("canary").exists()


@pytest.mark.integration
def test_a_real_zsh_completes(program: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed: Debian's zsh")
    script = """\
autoload -Uz compinit; compinit -u -D
source <(runner completion zsh)
compadd() { shift; print -rl -- "${(@P)1}" }
_files() { print files }
words=(runner convert --stage stage2 --step ''); CURRENT=6; _runner
words=(runner st); CURRENT=2; _runner
words=(runner shard x); CURRENT=3; _runner
"""
    assert in_shell("zsh", script, program) == ["300", "20", "status", "stop", "files"]


@pytest.mark.integration
def test_a_real_fish_completes(program: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed: Debian's fish")
    script = """\
runner completion fish | source
complete -C 'runner convert --stage stage2 --step '
complete -C 'runner sto'
"""
    assert [line.split("\t")[0] for line in in_shell("fish", script, program)] == ["300", "20", "stop"]


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_script_is_printed(shell: str, program: Path) -> None:
    done = subprocess.run(
        [program, "completion", shell], env=environment(), capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == (SCRIPTS[shell], "")


def test_a_tab_is_answered_at_once_and_without_torch(program: Path) -> None:
    """Seconds of the best of five, for the machine may be busy; the limit is that of the documentation."""
    asked = {"input": "runner\nconvert\n--step\n\n", "capture_output": True, "text": True}
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([program, "completion", "words"], env=environment(), check=True, **asked)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.3
    argv = [sys.executable, "-X", "importtime", "-m", "runner", "completion", "words"]
    loaded = subprocess.run(argv, env=environment(), check=True, **asked).stderr
    modules = {line.rpartition("|")[2].strip().partition(".")[0] for line in loaded.splitlines()}
    assert not modules & {"torch", "pydantic", "pyarrow"}
