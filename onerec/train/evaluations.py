"""The evaluations of a stage: when they are due, their newest figures, and the step that is the best so far.

Validation loss and hit rate are measured elsewhere; nothing here changes a number of the training.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from onerec.checkpoint.best import Best
from onerec.train.metrics import hit_rate_line, validation_line
from onerec.train.validate import evaluate, is_due

if TYPE_CHECKING:
    from collections.abc import Callable

    from onerec.train.report import StageReport
    from onerec.train.session import Session


class Evaluations:
    """Evaluates a session where that is due, and tells it."""

    def __init__(self, session: Session, report: StageReport) -> None:
        self._session, self._report = session, report
        self._validation: dict[str, Any] | None = None
        self._hit_rate: dict[str, Any] | None = None
        self.best = session.start.best if session.start else None
        """The step with the best hit rates so far; its checkpoint is kept."""

    def are_due(self, step: int) -> bool:
        """Whether anything is evaluated after this step."""
        return self._validation_is_due(step) or self._hit_rate_is_due(step)

    def make(self, step: int, *, on_pack: Callable[[], None]) -> None:
        """Evaluate what is due after a step; all ranks call it together. `on_pack` before each pack."""
        session = self._session
        if session.validation is not None and self._validation_is_due(step):
            self._validation = evaluate(
                session.model, session.validation, device=session.device, step=step, on_pack=on_pack
            )
            self._report.tell_validation(self._validation)
        if session.hit_rate is not None and self._hit_rate_is_due(step):
            row = session.hit_rate.measure(session.model, device=session.device, step=step, on_pack=on_pack)
            self._hit_rate = row
            found = Best(**{field.name: row[field.name] for field in fields(Best)})
            if self.best is None or self.best.is_beaten_by(found):
                self.best = found
            self._report.tell_hit_rate(row)

    def is_best(self, step: int) -> bool:
        """Whether a step is the best so far."""
        return self.best is not None and self.best.step == step

    def summary(self) -> dict[str, Any]:
        """The newest figures, and lines about them for people, as result.json has them."""
        stage, found, lines = self._session.config.stage, {}, []
        if self._validation is not None:
            found["validation"] = self._validation
            lines.append(validation_line(stage, self._validation))
        if self._hit_rate is not None:
            found["hit_rate"] = self._hit_rate
            lines.append(hit_rate_line(stage, self._hit_rate))
        if self.best is not None:
            found["best"] = vars(self.best)
            lines.append(f"{stage} was best after step {self.best.step}: NDCG {self.best.ndcg:.4f}")
        return {**found, "report": lines} if found else {}

    def _validation_is_due(self, step: int) -> bool:
        every = self._session.config.validating.validation_per_step
        return self._session.validation is not None and is_due(
            step, every=every, last_step=self._session.total_steps
        )

    def _hit_rate_is_due(self, step: int) -> bool:
        every = self._session.config.validating.hit_rate_per_step
        return self._session.hit_rate is not None and is_due(
            step, every=every, last_step=self._session.total_steps
        )
