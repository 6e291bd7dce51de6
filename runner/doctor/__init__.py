"""Check a run directory from outside: its journal, checkpoints, what was read, and what dead processes left.

Nothing is changed and no lock is taken, so it works while the run goes on, on a run that was moved, and on
one that is mounted read-only. Damage of any kind is a finding, never an error of the doctor's own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from runner.doctor.checkpoints import check_checkpoints
from runner.doctor.consumption import check_consumption
from runner.doctor.diagnosis import Check, Diagnosis, Finding, Standing
from runner.doctor.disk import check_disk, read_disk
from runner.doctor.documents import read_object
from runner.doctor.journal import check_journal, read_record
from runner.doctor.leftovers import check_leftovers, read_leftovers
from runner.doctor.lock import check_lock, read_lock
from runner.doctor.proc import read_processes
from runner.doctor.processes import busy_places, check_processes, read_recorded, read_settled
from runner.doctor.results import check_results, read_results
from runner.doctor.rows import check_rows
from runner.doctor.stage_files import StageFiles, read_stage
from runner.history import PlannedStep, StepHistory, fold
from runner.observe import is_owner_alive

if TYPE_CHECKING:
    from runner.rundir import RunDir

Found = TypeVar("Found")
LOOKS = 3
"""How often a run that goes on is looked at, until nothing happened in between."""
SET_UP_AGAIN = {"pending", "stale"}
"""States of a step whose folder does not count: what is there is set aside before it starts."""
UNKNOWN = StepHistory(state="interrupted")
"""How a step stands of which no journal tells."""


def examine(run: RunDir, *, fast: bool = False) -> Diagnosis:
    """Everything that can be found out; `fast` compares sizes of checkpoints instead of reading them."""
    for _ in range(LOOKS):
        before = _journal_size(run)
        diagnosis = _look(run, fast=fast)
        if diagnosis.healthy or _journal_size(run) == before:
            break
    return diagnosis


def _look(run: RunDir, *, fast: bool) -> Diagnosis:
    record, lock = read_record(run.events), read_lock(run)
    history = fold(record.events)
    standing = Standing(
        run,
        history,
        is_alive=is_owner_alive(run, history) or lock.has_living_owner,
        is_told=bool(record.events) and not record.faults,
    )
    steps = history.steps or _steps_by_folder(run)
    told = [history.step(step["name"]) if history.steps else UNKNOWN for step in steps]
    stages, unread = _read_stages(run, steps, told, fast=fast)
    processes = read_processes()

    def of_processes() -> Check:
        folders = list(dict.fromkeys(step["folder"] for step in steps))
        recorded, damaged = read_recorded(run, folders=folders)
        settled = read_settled(recorded, standing)
        return check_processes(settled, recorded, standing, damaged=damaged)

    def of_leftovers() -> Check:
        pids, busy = frozenset(processes), busy_places(processes, run)
        return check_leftovers(read_leftovers(run, steps), standing, pids=pids, busy=busy)

    checks: dict[str, Callable[[], Check]] = {
        "journal": lambda: check_journal(record, standing, untold=_untold(standing, steps, told)),
        "checkpoints": lambda: check_checkpoints(stages, standing, fast=fast, unread=unread),
        "results": lambda: check_results(read_results(run, steps, told), standing),
        "consumption": lambda: check_consumption(stages, standing),
        "metrics": lambda: check_rows(stages, standing),
        "leftovers": of_leftovers,
        "processes": of_processes,
        "lock": lambda: check_lock(lock, standing),
        "disk": lambda: check_disk(read_disk(run), stages, standing),
    }
    return Diagnosis(run.name, tuple(_checked(name, check, run=run) for name, check in checks.items()))


def _checked(name: str, check: Callable[[], Check], *, run: RunDir) -> Check:
    """A check, or that it cannot be made because the disk does not answer."""
    try:
        return _undisturbed(check)
    except OSError as fault:
        return Check(name, "not looked at", (_unreadable(fault, run),))


def _undisturbed(look: Callable[[], Found]) -> Found:
    """What a look finds; it is repeated when something that it had seen went meanwhile."""
    for _ in range(LOOKS - 1):
        with suppress(FileNotFoundError):
            return look()
    return look()


def _unreadable(fault: OSError, run: RunDir) -> Finding:
    place = os.path.relpath(fault.filename or run.path, run.path)
    remedy = "look as the owner of the run; if that does not help, mend the disk"
    return Finding("error", place, f"it cannot be read: {fault.strerror}", remedy)


def _read_stages(
    run: RunDir, steps: Sequence[PlannedStep], told: Sequence[StepHistory], *, fast: bool
) -> tuple[list[StageFiles], list[Finding]]:
    """Every training stage that has begun, and what of them cannot be read."""
    stages, unread = [], []
    for step, one in zip(steps, told, strict=True):
        if step["kind"] == "train" and one.state not in SET_UP_AGAIN:
            try:
                stages.append(_undisturbed(partial(read_stage, run, step, one, fast=fast)))
            except OSError as fault:
                unread.append(_unreadable(fault, run))
    return stages, unread


def _untold(standing: Standing, steps: Sequence[PlannedStep], told: Sequence[StepHistory]) -> list[str]:
    """Log folders of attempts that ran, of which the journal does not tell: it does so before they start."""
    run = standing.run
    if not standing.is_told or not standing.history.steps:  # which is told already
        return []
    return [
        run.inside(str(home.logs(number)))
        for home, one in ((run.step(step["folder"]), one) for step, one in zip(steps, told, strict=True))
        for number in home.attempt_numbers()
        if number > one.attempts and home.process_records(number)
    ]


def _steps_by_folder(run: RunDir) -> list[PlannedStep]:
    """Training stages by what is there, for a run whose journal is lost."""
    stages = [home for home in run.step_folders() if read_object(home.config).values.get("kind") == "train"]
    return [
        {"name": name, "kind": "train", "stage": name, "folder": name, "output_dir": name}
        for name in (home.path.name for home in stages)
    ]


def _journal_size(run: RunDir) -> int:
    try:
        return run.events.stat().st_size
    except OSError:
        return 0
