"""Disks that are full or read-only, as facts; a read-only mount itself is in test_doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runner.doctor import examine
from runner.doctor.disk import DiskFacts
from tests.runner.doctor.planting import findings, told

if TYPE_CHECKING:
    from runner.rundir import RunDir

ROOMY = 10**12


def on(disk: DiskFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.doctor.read_disk", lambda run: disk)


@pytest.mark.parametrize(
    ("disk", "expected", "text"),
    [
        (DiskFacts(1000, False, True), ("warning", "."), "1.0 kB are free, and a checkpoint needs 47"),
        (DiskFacts(ROOMY, True, False), ("error", "."), "the disk is mounted read-only, and the run has not"),
        (DiskFacts(ROOMY, False, False), ("warning", "."), "you may not write here, and the run has not"),
    ],
)
def test_a_disk_that_takes_no_checkpoint_is_told_as_long_as_the_run_goes_on(
    stopped: RunDir,
    monkeypatch: pytest.MonkeyPatch,
    disk: DiskFacts,
    expected: tuple[str, str],
    text: str,
) -> None:
    on(disk, monkeypatch)
    assert findings(stopped) == [expected]
    assert told(stopped, ".").startswith(text)


def test_a_finished_run_needs_no_disk(finished: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    on(DiskFacts(0, True, False), monkeypatch)
    assert findings(finished) == []


def test_the_disk_as_it_is(finished: RunDir) -> None:
    (check,) = [one for one in examine(finished).checks if one.name == "disk"]
    assert "free, the largest newest checkpoint has 4" in check.detail
