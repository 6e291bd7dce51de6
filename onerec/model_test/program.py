"""The test_model program: make every check of a folder, and tell how each came out.

Nothing is written but the report; the folder under test stays as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onerec.config.cases import load_cases
from onerec.errors import OneRecError
from onerec.model_test import agreement, files, forward, generation, heldout, rows, template, tokens, weights
from onerec.model_test.check import Check, Trial, make
from onerec.model_test.report import document_of, printable, summary_of
from onerec.model_test.subject import Subject
from onerec.progress import Progress, say, write_json_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onerec.config import TestModelConfig

SHIPPED_CASES = Path(__file__).with_name("cases.json")
REPORT_NAME = "test_report.json"
TRIALS = (
    *files.TRIALS,
    *tokens.TRIALS,
    *template.TRIALS,
    *weights.TRIALS,
    *rows.TRIALS,
    *forward.TRIALS,
    *agreement.TRIALS,
)


def test_model(config: TestModelConfig) -> dict[str, object]:
    """Test a model folder; writes test_report.json and returns the report, with few lines for people.

    Raises OneRecError (exit 1) naming every check that failed; ConfigError for a folder of no Qwen3 model and
    for a file of test cases that does not fit; DataError for held-out data that cannot be used.
    """
    cases = load_cases(Path(config.test.test_cases) if config.test.test_cases else SHIPPED_CASES)
    trials = (*TRIALS, *generation.trials_of(cases), *heldout.trials_of(config))
    output_dir = Path(config.output_dir)
    checks = _make_all(trials, Subject(config), Progress(output_dir, total=len(trials), unit="checks"))
    document = document_of(config.model_dir, checks)
    write_json_atomically(output_dir / REPORT_NAME, document)
    say("\n".join(document["report"]))
    failed = [f"{check.name} ({check.detail})" for check in checks if not check.ok]
    if failed:
        raise OneRecError(f"{config.model_dir} failed: {printable('; '.join(failed))}")
    return {**document, "report": summary_of(config.model_dir, checks)}


def _make_all(trials: Sequence[Trial], subject: Subject, progress: Progress) -> list[Check]:
    """Make the checks in order; what is being done is told as it begins, for some take minutes."""
    checks: dict[str, Check] = {}
    for number, trial in enumerate(trials, start=1):
        say(f"check {number} of {len(trials)}: {printable(trial.name)}", is_warning=True)
        checks[trial.name] = make(trial, subject, earlier=checks)
        progress.update(number)
    return list(checks.values())
