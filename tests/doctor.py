"""What every test asks after a fault: is the run directory still sound, as `runner doctor` sees it?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.doctor import examine
from runner.doctor.report import diagnosis_text
from runner.rundir import RunDir

if TYPE_CHECKING:
    from pathlib import Path

    from runner.doctor.diagnosis import Diagnosis


def assert_healthy(run_dir: Path, *, without_warnings: bool = False) -> Diagnosis:
    """Fail with the whole diagnosis when an error is found (with `without_warnings`: or a warning)."""
    diagnosis = examine(RunDir(run_dir.resolve()))
    bad = {"error", "warning"} if without_warnings else {"error"}
    assert not [one for one in diagnosis.findings if one.level in bad], diagnosis_text(diagnosis)
    return diagnosis
