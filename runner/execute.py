"""Bring a run to its end: do what is left of its plan, record every attempt, and stop cleanly when asked.

Decides nothing about numbers and prints nothing; whoever calls it is told what happens as it happens.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from onerec.errors import DriftError, OneRecError
from runner.attempt import Work
from runner.changes import KeyChange, changes_text, key_changes
from runner.decide import Decision, Facts, decide, drift_message, invalidated
from runner.history import History, StepHistory, fold
from runner.journal import Journal, read
from runner.lock import hold, renew
from runner.observe import read_document
from runner.outcome import Outcome
from runner.outputs import changed, measure
from runner.records import adopt, record_start
from runner.request import Request
from runner.retry import Again, GiveUp, Tried, next_try
from runner.rundir import StepDir
from runner.stop import StopRequests
from runner.supervise import kill_leftovers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.steps import Plan, Step


class Listener(Protocol):
    """Whoever wants to know what happens."""

    def changed(self, lines: Sequence[str]) -> None:
        """The manifest is another than when the run last started; a line for each key."""

    def skipped(self, step: Step, history: History) -> None:
        """A step is done already."""

    def started(self, step: Step, *, attempt: int, reason: str) -> None:
        """An attempt begins."""

    def progressed(self, step: Step, figures: Mapping[str, object]) -> None:
        """The running step wrote its progress.json; called about twice a second."""

    def ended(self, step: Step, outcome: Outcome, *, seconds: float) -> None:
        """An attempt ended well or was stopped."""

    def failed(self, step: Step, outcome: Outcome, *, attempt: int, retry_in: float | None) -> None:
        """An attempt failed; `retry_in` seconds until the next one, None: there is none."""


def execute(request: Request, *, listener: Listener) -> int:
    """Do what is left of the plan; returns the exit code.

    Raises RunInUseError when another runner works on the run, DriftError (before anything is changed) when
    finished work was made from other settings, ConfigError for a step that cannot be started.
    """
    run = request.plan.run
    with hold(run.lock):
        history = fold(read(run.events))
        decisions = decide(request.plan, history, find_facts(request.plan, history), rerun=request.rerun)
        changes = _changes(request, decisions)
        drift = drift_message(decisions, run=str(run.path), changes=changes_text(changes))
        if drift is not None:
            raise DriftError(drift)
        adopt(request)
        with closing(Journal(run.events)) as journal, StopRequests(run.stop_file) as stop:
            record_start(request, journal)
            if changes:
                journal.append("manifest_changed", changes=[change.document() for change in changes])
                listener.changed(changes_text(changes))
            names = invalidated(decisions, history)
            if names:
                journal.append("steps_invalidated", steps=names, reason="to be run again")
            try:
                return _Execution(request, journal, stop, listener, history).bring_to_end(decisions)
            except OneRecError as fault:
                journal.append("run_ended", state="failed", exit_code=fault.exit_code, reason=str(fault))
                raise


@dataclass
class _Execution:
    """One runner at work on one run."""

    request: Request
    journal: Journal
    stop: StopRequests
    listener: Listener
    history: History

    def __post_init__(self) -> None:
        self._work = Work(self.request, self.journal, self.stop)

    def bring_to_end(self, decisions: tuple[Decision, ...]) -> int:
        """Do each step that is not done, in order, until one does not end well."""
        for decision in decisions:
            self._kill_leftovers(decision.step)
        for decision in decisions:
            if decision.action == "skip":
                self.listener.skipped(decision.step, self.history)
                continue
            if self.stop.level:
                return self._end("interrupted", self.stop.exit_code, "stopped on request")
            outcome = self._do(decision)
            if outcome.state == "interrupted":
                code = self.stop.exit_code if self.stop.level else outcome.exit_code
                return self._end("interrupted", code, outcome.reason)
            if outcome.state == "failed":
                return self._end("failed", outcome.exit_code, f"{decision.step.name}: {outcome.reason}")
        return self._end("done", 0, None)

    def _do(self, decision: Decision) -> Outcome:
        """One step, with as many further attempts as a crash in training is given."""
        step, home = decision.step, StepDir(Path(decision.step.folder))
        # prepared datasets may lie beside the rows of a stage named data; they are not this stage's
        made = home.rows if step.kind == "build_data" else home
        if decision.set_aside and made.path.exists():
            made.path.rename(made.replaced())
        first = self.history.step(step.name).attempts + 1
        began_at, reason = _newest_checkpoint(step), decision.reason
        tried: list[Tried] = []
        for number in itertools.count(first):
            self.listener.started(step, attempt=number, reason=reason)
            began = time.monotonic()
            outcome = self._work.attempt(step, number=number, on_progress=partial(self._progressed, step))
            if outcome.state != "failed":
                self.listener.ended(step, outcome, seconds=time.monotonic() - began)
                return outcome
            tried.append(_tried(outcome, step))
            follows = self._after(tried, began_at=began_at)
            pause = follows.seconds if isinstance(follows, Again) else None
            self.listener.failed(step, outcome, attempt=number, retry_in=pause)
            if isinstance(follows, GiveUp):
                return _given_up(outcome, follows)
            reached = tried[-1].checkpoint
            reason = f"attempt {number} failed" + (f"; goes on from step {reached}" if reached else "")
            if self._is_stopped_within(follows.seconds):
                return Outcome("interrupted", self.stop.exit_code, "stopped on request")
        raise AssertionError("attempts never run out")

    def _after(self, tried: Sequence[Tried], *, began_at: int) -> Again | GiveUp:
        """Whether another attempt follows; none does once somebody has asked to stop."""
        if self.stop.level:
            return GiveUp(tried[-1].exit_code)
        return next_try(
            tried,
            began_at=began_at,
            most=self.request.cluster.max_restarts,
            pause_seconds=self.request.backoff_seconds,
            jitter=random.uniform(-1, 1),  # noqa: S311 - so that many runs do not start again in one moment
        )

    def _progressed(self, step: Step, figures: Mapping[str, object]) -> None:
        self.listener.progressed(step, figures)

    def _is_stopped_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.stop.level:
            renew(self.request.plan.run.lock)
            time.sleep(0.05)
        return bool(self.stop.level)

    def _kill_leftovers(self, step: Step) -> None:
        for logs in StepDir(Path(step.folder)).attempts():
            kill_leftovers(logs)

    def _end(self, state: str, code: int, reason: str | None) -> int:
        self.journal.append("run_ended", state=state, exit_code=code, reason=reason)
        return code


def _tried(outcome: Outcome, step: Step) -> Tried:
    return Tried(
        # where nothing is random a program fails again as it has failed
        may_retry=outcome.may_retry and (step.kind == "train" or outcome.kind != "exception"),
        exit_code=outcome.exit_code,
        error=f"{outcome.kind}: {outcome.words}" if outcome.kind == "exception" and outcome.words else None,
        checkpoint=_newest_checkpoint(step),
    )


def _given_up(outcome: Outcome, follows: GiveUp) -> Outcome:
    reason = outcome.reason if follows.why is None else f"{outcome.reason}; {follows.why}"
    return replace(outcome, exit_code=follows.exit_code, reason=reason)


def _newest_checkpoint(step: Step) -> int:
    return max(StepDir(Path(step.output_dir)).checkpoints(), default=0) if step.kind == "train" else 0


def _changes(request: Request, decisions: Sequence[Decision]) -> tuple[KeyChange, ...]:
    """What the manifest says otherwise than when the run last started."""
    before = read_document(request.plan.run.resolved)
    drifted = {decision.step.stage for decision in decisions if decision.action == "drift"}
    return key_changes(before, json.loads(request.resolved_text), drifted=drifted) if before else ()


def find_facts(plan: Plan, history: History) -> dict[str, Facts]:
    """What is on the disk for each step of a plan."""
    return {step.name: _facts_of(step, history.step(step.name)) for step in plan.steps}


def _facts_of(step: Step, told: StepHistory) -> Facts:
    home = StepDir(Path(step.output_dir))
    return Facts(
        result=read_document(home.result).get("attempt") == told.attempts,
        missing=tuple(output for output in step.outputs if not Path(output).exists()),
        changed=tuple(changed(told.outputs, measure(step))) if told.outputs else (),
        checkpoints=tuple(home.checkpoints()) if step.kind == "train" else (),
    )
