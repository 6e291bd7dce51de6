"""Planted secrets reach the processes that need them, and are in no file of the run and in no output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runner.programme import environment, write_manifest

PLANTED = {
    "HF_TOKEN": "planted-hf",
    "AWS_SECRET_ACCESS_KEY": "planted-aws",
    "WANDB_API_KEY": "planted-wandb",
    "MY_PASSWORD": "planted-password",
}
SECRET_ORDERS = {"second": {"code": 6, "planted": "planted-orders"}}
"""What the stand-in is told by the file of secrets alone: that it did as it was told shows that it came."""


def call(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runner", *map(str, arguments)],
        cwd=folder,
        env={**environment(), **PLANTED},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def leaks(folder: Path) -> list[Path]:
    """Files below the runs of a folder that hold a planted secret."""
    return [
        path for path in (folder / "runs").rglob("*") if path.is_file() and b"planted" in path.read_bytes()
    ]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder in which the programme ran with secrets in its environment and in a file."""
    folder = tmp_path_factory.mktemp("secrets")
    path = write_manifest(folder)
    text = path.read_text()
    orders = text[text.index(", STAND_IN") : text.index(" }", text.index(", STAND_IN"))]
    path.write_text(text.replace(orders, "").replace("[cluster]", '[cluster]\nenv_file = "secrets.env"'))
    secrets = folder / "secrets.env"
    secrets.touch(0o600)
    secrets.write_text(f"STAND_IN='{json.dumps(SECRET_ORDERS)}'\nS3_SECRET=planted-in-file\n")
    return folder, call(folder, "small.toml")


def test_the_file_of_secrets_reaches_the_trainer_and_nothing_is_written(
    told: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, ended = told

    assert ended.returncode == 6
    assert "second" in ended.stdout + ended.stderr
    assert "planted" not in ended.stdout + ended.stderr
    assert leaks(folder) == []
    command = (folder / "runs/small/first/command.sh").read_text()
    assert f"export RUNNER_ENV_FILE={folder}/secrets.env\n" in command


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["logs"],
        ["report"],
        ["doctor"],
        ["list"],
        ["plan", "small.toml"],
        ["check", "--fast", "small.toml"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_no_verb_shows_one(told: tuple[Path, subprocess.CompletedProcess[str]], arguments: list[str]) -> None:
    folder, _ = told
    ended = call(folder, *arguments)

    assert "planted" not in ended.stdout + ended.stderr
    assert leaks(folder) == []


def test_the_command_by_hand_finds_the_file_too(told: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = told
    ended = subprocess.run(
        [folder / "runs/small/second/command.sh"],
        env={**environment(), **PLANTED},
        capture_output=True,
        check=False,
    )

    assert ended.returncode == 6
    assert leaks(folder) == []


@pytest.mark.parametrize(
    "setting",
    [
        "cluster.env.HF_TOKEN=planted-set",
        'cluster.env={ AWS_SECRET_ACCESS_KEY = "planted-set" }',
        "datasets.mixed.sources=s3://key:planted-set@bucket/x",
        "datasets.mixed.sources=s3://bucket/x?secret_key=planted-set",
        "datasets.mixed.sources=https://host/x?token=planted-set",
        "model.base_model_dir=https://host/x?token=planted-set",
    ],
)
def test_a_secret_in_the_manifest_is_refused_and_not_shown(setting: str, tmp_path: Path) -> None:
    write_manifest(tmp_path)
    ended = call(tmp_path, "check", "small.toml", "--json", "--set", setting)

    assert ended.returncode == 2
    assert "planted-set" not in ended.stdout + ended.stderr
    assert "<redacted sha256:" in ended.stderr
    assert not (tmp_path / "runs").exists()


def test_a_file_of_secrets_that_is_wrong_ends_the_rank_with_its_reason(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.env"
    secrets.write_text("planted nonsense")
    ended = subprocess.run(
        [sys.executable, "-m", "runner.rank", "--log-dir", tmp_path / "logs", "--", "-c", "pass"],
        env={**os.environ, "RUNNER_ENV_FILE": str(secrets)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 2
    assert ended.stderr == f"error: cluster.env_file {secrets}, line 1 is no NAME=value; correct it\n"
