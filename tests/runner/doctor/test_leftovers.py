"""What interrupted work leaves: planted where the real code would leave it, told with what becomes of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from onerec.checkpoint import commit, retention
from runner.rundir import SAVE_LEFTOVERS
from tests.runner.doctor.planting import dead, findings, told
from tests.runner.programme import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from runner.rundir import RunDir


def plant(path: Path, *, is_folder: bool = True) -> None:
    """A leftover of 2,000 bytes."""
    file = path / "inside" / "part" if is_folder else path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * 2000)


def test_the_patterns_are_those_that_the_trainer_removes() -> None:
    assert SAVE_LEFTOVERS == retention.LEFTOVERS


@pytest.mark.parametrize("name", ["step99.tmp-2", ".trash-step2"])
def test_an_interrupted_save_goes_by_itself_unless_the_stage_is_done(
    stopped: RunDir, finished: RunDir, name: str
) -> None:
    for run, level, remedy in (
        (stopped, "info", "nothing; it goes when stage2 goes on"),
        (finished, "warning", f"rm -r {finished.path}/stage2/{name}"),
    ):
        plant(run.stage("stage2").path / name)
        assert (level, f"stage2/{name}") in findings(run, least="info")
        assert told(run, f"stage2/{name}") == f"left behind by an interrupted save (2.0 kB); {remedy}"


def test_what_a_trainer_begins_is_a_leftover_as_long_as_it_is_not_complete(stopped: RunDir) -> None:
    home = stopped.stage("stage2").path
    temporary = commit.begin(home, 3, attempt="2")
    assert ("info", f"stage2/{temporary.name}") in findings(stopped, least="info")


def test_an_interrupted_conversion_that_pins_its_checkpoint_is_a_warning(finished: RunDir) -> None:
    folder = finished.stage("stage2").converted_checkpoint(12)
    plant(folder.with_name(".converted.tmp"))
    place = "stage2/step12/global_step12/.converted.tmp"
    assert retention.is_in_use(finished.stage("stage2").checkpoint(12))
    assert findings(finished) == [("warning", place)]
    assert told(finished, place) == (
        "left behind by an interrupted conversion (2.0 kB); it keeps this checkpoint from being pruned; "
        f"rm -r {finished.path}/{place}"
    )


def test_a_conversion_that_a_living_program_makes_is_none(finished: RunDir) -> None:
    plant(finished.stage("stage2").converted_checkpoint(12).with_name(".converted.tmp"))
    config = finished.stage("stage2").conversion(12).config
    program = [sys.executable, "-c", "print(flush=True); input()", "onerec", str(config)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert findings(finished, least="info") == []
        process.communicate(b"\n")
    assert len(findings(finished)) == 1


@pytest.mark.parametrize(
    "place",
    [
        ".manifest.toml.%d.tmp",
        "control/.stop.json.%d.tmp",
        "stage2/.result.json.%d.tmp",
        "stage2/.converted.%d",
        "stage2/convert/.progress.json.%d.tmp",
        "data/mixed/tokens/.c11b.arrow.%d.tmp",
    ],
)
def test_an_interrupted_write_of_a_dead_process_is_a_warning_and_of_a_living_one_none(
    finished: RunDir, place: str
) -> None:
    plant(finished.path / (place % dead()["pid"]), is_folder=False)
    assert findings(finished) == [("warning", place % dead_pid(finished))]
    next(path for path in finished.path.rglob(".*") if re.search(r"\.[0-9]+(\.tmp)?$", path.name)).unlink()
    plant(finished.path / (place % os.getppid()), is_folder=False)
    assert findings(finished, least="info") == []


def dead_pid(run: RunDir) -> int:
    """The process that the planted name tells."""
    names = [path.name for path in run.path.rglob(".*") if re.search(r"\.[0-9]+(\.tmp)?$", path.name)]
    return int(re.findall(r"\.([0-9]+)(?:\.tmp)?$", names[0])[0])


@pytest.mark.parametrize(
    "place",
    [
        "expand/.model.tmp",
        "expand/.model.old",
        "stage2/.metrics.jsonl.tmp",
        "data/mixed/plans/.049d-epoch0.ab12_x",
        "data/mixed/.index-1.tmp",
        "stage2/logs/attempt-1/rank-00000.pid.tmp",
    ],
)
def test_an_interrupted_write_in_a_step_that_is_done_is_a_warning(finished: RunDir, place: str) -> None:
    plant(finished.path / place)
    assert findings(finished) == [("warning", place)]


def test_nothing_of_a_healthy_run_looks_like_a_leftover(finished: RunDir) -> None:
    wait_until(lambda: findings(finished, least="info") == [], seconds=2)
