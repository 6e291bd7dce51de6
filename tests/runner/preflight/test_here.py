"""What this host would spoil, whatever the manifest says."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from runner.preflight.here import (
    check_file_system,
    check_here,
    check_shadows,
    check_variables,
    nearest_folder,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_is_found_on_a_sound_host_and_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(check_here(tmp_path / "runs" / "deep", env={"PATH": "/bin"})) == []
    assert list(tmp_path.iterdir()) == []


def test_the_nearest_folder_is_the_one_that_is_there(tmp_path: Path) -> None:
    assert nearest_folder(tmp_path / "a" / "b") == tmp_path
    assert nearest_folder(tmp_path) == tmp_path


def test_options_of_torchrun_in_the_environment_are_told() -> None:
    found = check_variables({"PET_NPROC_PER_NODE": "2", "PET_NNODES": "3", "PETER": "1"})
    assert [str(finding) for finding in found] == [
        "warning: the environment has PET_NNODES, PET_NPROC_PER_NODE, which torchrun takes for its own "
        "options; unset them: the runner does not pass them on, but a torchrun of your own would obey them"
    ]


def test_a_file_that_shadows_a_module_is_told_where_python_would_import_it(tmp_path: Path) -> None:
    for name in ("grp.py", "mine.py", "random.py"):
        (tmp_path / name).touch()
    assert list(check_shadows(tmp_path, version=(3, 11))) == []
    assert [str(finding) for finding in check_shadows(tmp_path, version=(3, 10))] == [
        f"error: {tmp_path}/{name}.py would be imported instead of Python's own {name}; rename it, or start "
        "the runner in another folder"
        for name in ("grp", "random")
    ]


def flock_without_effect(_file: object, _how: int) -> None:
    """As on a file system that accepts locks and keeps none."""


def flock_refused(_file: object, _how: int) -> None:
    raise OSError(95, os.strerror(95))


@pytest.mark.parametrize(
    ("flock", "message"),
    [
        (
            flock_without_effect,
            "locks (flock) do not exclude one another in {folder}; choose an output_dir elsewhere, or mount "
            "it with locks",
        ),
        (
            flock_refused,
            "files cannot be written, flushed, renamed and locked in {folder}: Operation not supported; "
            "choose an output_dir elsewhere, or mend its file system",
        ),
    ],
)
def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flock: object, message: str
) -> None:
    monkeypatch.setattr(fcntl, "flock", flock)
    found = [str(finding) for finding in check_file_system(tmp_path)]
    assert found == [f"error: output_dir: {message.format(folder=tmp_path)}"]


def test_a_file_system_that_does_not_flush_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(os, "fsync", refuse)
    (found,) = check_file_system(tmp_path)
    assert "in " + str(tmp_path) + ": Input/output error" in found.message
