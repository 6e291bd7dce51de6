"""Bring a run to its end: do what is left of its plan, record every attempt, and stop cleanly when asked.

Decides nothing about numbers and prints nothing; whoever calls it is told what happens as it happens.
"""

from __future__ import annotations

import os
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from onerec.errors import DriftError, OneRecError
from runner.decide import Decision, Facts, decide, drift_message, invalidated
from runner.history import History, fold
from runner.journal import Journal, read
from runner.launch import launch
from runner.launch.ranks import world_size
from runner.launch.values import Attempt
from runner.lock import hold, renew
from runner.observe import read_document
from runner.outcome import Ended, Outcome, RankRecord, judge
from runner.records import adopt, record_start, write_orders
from runner.request import Request
from runner.rundir import RunDir, StepDir
from runner.stop import StopRequests
from runner.supervise import kill_leftovers, run_to_end

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.steps import Plan, Step

LONGEST_BACKOFF_SECONDS = 600.0
LEASE_RENEWAL_SECONDS = 10.0
FIRST_PORT, PORTS = 20000, 10000
"""Rendezvous ports lie below those that the kernel hands out by itself."""


class Listener(Protocol):
    """Whoever wants to know what happens."""

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
        drift = drift_message(decisions, run=str(run.path))
        if drift is not None:
            raise DriftError(drift)
        adopt(request)
        with closing(Journal(run.events)) as journal, StopRequests(run.stop_file) as stop:
            record_start(request, journal)
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
        most = self.request.cluster.max_restarts if step.kind == "train" else 0
        for number in range(first, first + most + 1):
            outcome = self._attempt(step, home, number=number, reason=decision.reason)
            if outcome.state != "failed":
                break
            retries = outcome.may_retry and number < first + most and not self.stop.level
            pause = min(self.request.backoff_seconds * 2 ** (number - first), LONGEST_BACKOFF_SECONDS)
            self.listener.failed(step, outcome, attempt=number, retry_in=pause if retries else None)
            if not retries:
                break
            if self._is_stopped_within(pause):
                return Outcome("interrupted", self.stop.exit_code, "stopped on request")
        return outcome

    def _attempt(self, step: Step, home: StepDir, *, number: int, reason: str) -> Outcome:
        request, run = self.request, self.request.plan.run
        attempt = Attempt(number=number, nonce=_nonce(run, step, number), port=_choose_port())
        commands = launch(step, run=run.path, cluster=request.cluster, tools=request.tools, attempt=attempt)
        write_orders(step, home, commands, tools=request.tools, number=number, stop_file=run.stop_file)
        self.journal.append(
            "step_started",
            step=step.name,
            attempt=number,
            fingerprint=step.fingerprint,
            ingredients=step.ingredients,
            argv=[command.argv for command in commands],
        )
        self.listener.started(step, attempt=number, reason=reason)
        began = time.monotonic()
        codes = run_to_end(
            commands,
            home=home,
            env=request.env,
            stop=self.stop,
            grace_seconds=request.cluster.stop_grace_seconds if step.kind == "train" else 0.0,
            watch=_Watch(step, lock=run.lock, listener=self.listener),
        )
        kill_leftovers(home.logs(number))
        outcome = judge(self._ended(step, home, number=number, codes=codes))
        self.journal.append(
            "step_ended",
            step=step.name,
            state=outcome.state,
            exit_code=outcome.exit_code,
            reason=outcome.reason,
            result={
                key: value for key, value in outcome.result.items() if not isinstance(value, (dict, list))
            },
        )
        if outcome.state != "failed":
            self.listener.ended(step, outcome, seconds=time.monotonic() - began)
        return outcome

    def _ended(self, step: Step, home: StepDir, *, number: int, codes: tuple[int, ...]) -> Ended:
        logs, request = home.logs(number), self.request
        result = read_document(StepDir(Path(step.output_dir)).result)
        return Ended(
            records=[_record(path) for path in sorted(logs.glob("rank-?????.json"))],
            started=[int(path.name[5:10]) for path in sorted(logs.glob("rank-?????.pid.json"))],
            expected=world_size(step, cluster=request.cluster, tools=request.tools),
            launcher_codes=codes,
            result=result if result.get("attempt") == number else None,
            stop_asked=bool(self.stop.level),
        )

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


class _Watch:
    """Called while a step runs: passes its progress on and keeps the lock fresh."""

    def __init__(self, step: Step, *, lock: Path, listener: Listener) -> None:
        self._step, self._lock, self._listener = step, lock, listener
        self._progress = StepDir(Path(step.output_dir)).progress
        self._began = time.time()
        self._renewed = 0.0

    def __call__(self) -> None:
        now = time.time()
        if now - self._renewed > LEASE_RENEWAL_SECONDS:
            renew(self._lock)
            self._renewed = now
        if (
            self._progress.exists() and self._progress.stat().st_mtime >= self._began
        ):  # not an older attempt's
            self._listener.progressed(self._step, read_document(self._progress))


def find_facts(plan: Plan, history: History) -> dict[str, Facts]:
    """What is on the disk for each step of a plan."""
    return {step.name: _facts_of(step, attempts=history.step(step.name).attempts) for step in plan.steps}


def _facts_of(step: Step, *, attempts: int) -> Facts:
    home = StepDir(Path(step.output_dir))
    return Facts(
        result=read_document(home.result).get("attempt") == attempts,
        missing=tuple(output for output in step.outputs if not Path(output).exists()),
        checkpoints=tuple(home.checkpoints()) if step.kind == "train" else (),
    )


def _record(path: Path) -> RankRecord:
    return read_document(path)  # type: ignore[return-value]


def _nonce(run: RunDir, step: Step, number: int) -> str:
    """A name that no other attempt has: two jobs that share one would be merged."""
    return f"{run.name}-{step.stage}-{number}-{os.urandom(4).hex()}"


def _choose_port() -> int:
    """A port for the rendezvous of several hosts; it is opened on the first of them, not here."""
    return FIRST_PORT + int.from_bytes(os.urandom(4), "big") % PORTS
