"""What a person sees while a run goes on: a progress bar on a terminal, plain lines everywhere else.

Writes only through what it is given; runner.cli owns the streams.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from runner.attempt import log_of, tail_of
from runner.history import fold
from runner.journal import read
from runner.observe import observe, read_document
from runner.printable import printable
from runner.report import (
    beside_the_bar,
    duration,
    failure_text,
    progress_text,
    report_lines,
    result_text,
    summary_text,
)
from runner.rundir import StepDir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.console import Console
    from rich.progress import Progress

    from runner.history import History
    from runner.outcome import Outcome
    from runner.rundir import RunDir
    from runner.steps import Step

LINE_SECONDS = 10.0
TAIL_LINES = 12


class PlainListener:
    """One line when a step begins and ends, and at most one in ten seconds in between."""

    def __init__(self, run: RunDir, say: Callable[[str], None]) -> None:
        self._run = run
        self._say = say
        self._told_at = 0.0
        self._told = ""

    def changed(self, lines: Sequence[str]) -> None:
        """Tell what the manifest says otherwise."""
        self._say("\n".join(["the manifest has changed:", *(f"  {line}" for line in lines)]))

    def skipped(self, step: Step, history: History) -> None:
        """Tell that a step is done already."""
        found = result_text(history.step(step.name).result)
        self._say(f"{step.name}: done before" + (f" ({found})" if found else ""))

    def started(self, step: Step, *, attempt: int, reason: str) -> None:
        """Tell that an attempt begins."""
        self._say(f"{step.name}: started" + ("" if attempt == 1 else f", attempt {attempt} ({reason})"))
        self._told_at = time.monotonic()

    def progressed(self, step: Step, figures: Mapping[str, object]) -> None:
        """Tell how far the step is, now and then."""
        text = progress_text(step.name, figures)
        if time.monotonic() - self._told_at < LINE_SECONDS or text == self._told or not figures:
            return
        self._told_at, self._told = time.monotonic(), text
        self._say(text)

    def ended(self, step: Step, outcome: Outcome, *, seconds: float) -> None:
        """Tell how a step ended well or was stopped."""
        found = result_text(outcome.result)
        state = outcome.state if outcome.reason is None else f"{outcome.state}, {outcome.reason}"
        self._say(f"{step.name}: {state} after {duration(seconds)}" + (f" ({found})" if found else ""))

    def failed(self, step: Step, outcome: Outcome, *, attempt: int, retry_in: float | None) -> None:
        """Tell which rank failed, its last words and what to do."""
        log = log_of(StepDir(Path(step.folder)), outcome, attempt=attempt)
        text = failure_text(
            step.name,
            outcome,
            attempt=attempt,
            retry_in=retry_in,
            log=log,
            tail=tail_of(log, lines=TAIL_LINES),
            run=self._run,
            stage=step.name,
        )
        self._say(text)


class BarListener(PlainListener):
    """The same on a terminal, with a bar for the running step."""

    def __init__(self, run: RunDir, console: Console) -> None:
        super().__init__(
            run, lambda text: console.print(printable(text, keep="\n\t"), markup=False, highlight=False)
        )
        self._console = console
        self._bar: Progress | None = None

    def started(self, step: Step, *, attempt: int, reason: str) -> None:
        """Put up the bar."""
        super().started(step, attempt=attempt, reason=reason)
        self._bar = _new_bar(self._console)
        self._bar.add_task(step.name, total=None, figures="", left="")
        self._bar.start()

    def progressed(self, step: Step, figures: Mapping[str, object]) -> None:  # noqa: ARG002 - Listener
        """Move the bar."""
        if self._bar is None or not isinstance(total := figures.get("total"), int):
            return
        done, eta = figures.get("done"), figures.get("eta_seconds")
        self._bar.update(
            self._bar.task_ids[0],
            total=total,
            completed=done if isinstance(done, int) else 0,
            figures=", ".join(beside_the_bar(figures)),
            left=f"{duration(eta)} left" if isinstance(eta, (int, float)) else "",
        )

    def ended(self, step: Step, outcome: Outcome, *, seconds: float) -> None:
        """Take the bar down and tell how the step ended."""
        self._take_down()
        super().ended(step, outcome, seconds=seconds)

    def failed(self, step: Step, outcome: Outcome, *, attempt: int, retry_in: float | None) -> None:
        """Take the bar down and tell what failed."""
        self._take_down()
        super().failed(step, outcome, attempt=attempt, retry_in=retry_in)

    def _print(self, text: str) -> None:
        self._console.print(printable(text, keep="\n\t"), markup=False, highlight=False)

    def close(self) -> None:
        """Give the terminal back, whatever happened."""
        self._take_down()

    def _take_down(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@contextmanager
def listening(run: RunDir, say: Callable[[str], None], *, is_terminal: bool) -> Iterator[PlainListener]:
    """A progress bar on a terminal, plain lines otherwise."""
    if not is_terminal:
        yield PlainListener(run, say)
        return
    from rich.console import Console  # noqa: PLC0415 - slow

    bar = BarListener(run, Console())
    try:
        yield bar
    finally:
        bar.close()


def closing_text(run: RunDir) -> str:
    """How a run stands at its end: a table of its steps, what each found out, where everything is."""
    history = fold(read(run.events))
    done = [step for step in history.steps if history.step(step["name"]).state == "done"]
    told = {step["name"]: report_lines(read_document(run.step(step["output_dir"]).result)) for step in done}
    tables = {step["name"]: told.pop(step["name"]) for step in done if step["kind"] == "evaluate"}
    return summary_text(observe(run), history, run=run, notes=told, tables=tables)


def _new_bar(console: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415 - slow

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TextColumn("{task.fields[left]}"),
    )
    return Progress(*columns, console=console, transient=True, refresh_per_second=4)
