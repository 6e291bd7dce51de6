"""A real run that was stopped once and went on to its end, looked at by the doctor all the while."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runner.doctor import examine
from runner.rundir import RunDir
from tests import test_pipeline as pipeline

if TYPE_CHECKING:
    from runner.doctor.diagnosis import Diagnosis

SETTINGS = ("--set", "training.keep_checkpoints=9")


@dataclass(frozen=True)
class Real:
    """What the one real run of these tests left."""

    stopped: Path
    """Its directory after it was stopped in stage2, after one step."""
    finished: Path
    """Its directory at its end; stage2 has two stretches."""
    meanwhile: tuple[Diagnosis, ...]
    """Diagnoses that were made while it ran."""


@pytest.fixture(scope="session")
def real(tiny_programme: Path, tmp_path_factory: pytest.TempPathFactory) -> Real:
    folder = tmp_path_factory.mktemp("real")
    manifest = pipeline.write_manifest(folder, tiny_programme)
    run = RunDir(folder / "runs" / "tiny")
    process = start(folder, str(manifest), *SETTINGS)
    meanwhile = []
    first_rank = run.stage("stage2").logs(1) / "rank-00000.pid.json"
    while not first_rank.exists():
        assert process.poll() is None
        if run.events.exists():
            meanwhile.append(examine(run, fast=True))
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    stopped = folder / "stopped"
    shutil.copytree(run.path, stopped, symlinks=True)
    process = start(folder, "resume")
    while process.poll() is None:
        meanwhile.append(examine(run))
        time.sleep(0.05)
    assert process.returncode == 0
    return Real(stopped, run.path, tuple(meanwhile))


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """The runner at work in a folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "runner", *arguments],
        cwd=folder,
        env=pipeline.environment(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture
def finished(real: Real, tmp_path: Path) -> RunDir:
    """A copy of the finished run, elsewhere than it was made."""
    return RunDir(shutil.copytree(real.finished, tmp_path / "runs" / "tiny", symlinks=True))


@pytest.fixture
def stopped(real: Real, tmp_path: Path) -> RunDir:
    """A copy of the run as it was when it had been stopped."""
    return RunDir(shutil.copytree(real.stopped, tmp_path / "stopped" / "tiny", symlinks=True))
