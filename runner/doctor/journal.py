"""The journal of a run: whether every line of it is whole, and whether it tells a legal history.

Unlike `runner.journal.read`, which refuses a damaged journal, this takes in all that can still be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onerec.errors import StorageError
from runner.doctor.diagnosis import Check, Finding
from runner.doctor.form import FIELDS, misfit
from runner.doctor.legal import backward_times, violations
from runner.journal import parse
from runner.report import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from runner.doctor.diagnosis import Standing
    from runner.journal import Event

MOST_TOLD = 5
"""How many faults of one kind are told one by one."""


@dataclass(frozen=True)
class Record:
    """What can be read of a journal."""

    events: tuple[Event, ...] = ()
    """Events whose checksum holds and that have all their fields."""
    whole: int = 0
    """How many of them come before the first damage: an unbroken history."""
    faults: tuple[str, ...] = ()
    """What is wrong with single lines, or with the file."""
    torn_bytes: int = 0
    """Length of a last line without its end."""
    unreadable: str | None = None
    """Why the file could not be read at all."""


def read_record(path: Path) -> Record:
    """All that can be read of a journal (nothing where there is none); damage is told, and raises nothing."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return Record()
    except OSError as fault:
        return Record(unreadable=fault.strerror)
    end = text.rfind(b"\n") + 1
    events: list[Event] = []
    faults: list[str] = []
    whole = 0
    for number, line in enumerate(text[:end].splitlines(), start=1):
        event, wrong = _event(line, path=path, number=number)
        if event is not None:
            events.append(event)
        if wrong is not None:
            faults.append(wrong)
        whole = whole if faults else len(events)
    return Record(tuple(events), whole, tuple(faults), len(text) - end)


def check_journal(record: Record, standing: Standing, *, untold: Sequence[str] = ()) -> Check:
    """Damage, illegal events and oddities; `untold` are log folders of attempts that the journal lacks."""
    starts = sum(event["event"] == "run_started" for event in record.events)
    detail = f"{counted(len(record.events), 'event')}, {counted(starts, 'start')}"
    findings = [*_damage(record, standing), *_history(record, standing), *_oddities(record, standing)]
    findings += [
        Finding(
            "error",
            place,
            "processes ran in it, and the journal does not tell of this attempt: its last lines are lost",
            f"restore {standing.path_of(standing.run.events.name)} from a copy, or start under another name",
        )
        for place in untold
    ]
    return Check("journal", detail, tuple(findings))


def _event(line: bytes, *, path: Path, number: int) -> tuple[Event | None, str | None]:
    """The event of a line, and what is wrong with it."""
    try:
        event = parse(line, path=path, number=number)
    except StorageError as fault:
        told = str(fault).removeprefix(f"{path}, ").partition(";")[0]
        return None, told
    wrong = misfit(event)
    return (event, None) if wrong is None else (None, f"line {number}: {wrong}")


def _damage(record: Record, standing: Standing) -> Iterator[Finding]:
    place = standing.run.events.name
    remedy = (
        f"restore {standing.path_of(place)} from a copy; without one, start under another name: the "
        "checkpoints can be gone on from with resume_from"
    )
    if record.unreadable is not None:
        text = f"it cannot be read: {record.unreadable}"
        yield Finding("error", place, text, "look as the owner of the run, or mend the disk")
        return
    for fault in record.faults[:MOST_TOLD]:
        yield Finding("error", place, fault, remedy)
    if len(record.faults) > MOST_TOLD:
        yield Finding("error", place, f"{len(record.faults) - MOST_TOLD} more lines are damaged", remedy)
    if not record.events and not record.faults and standing.run.step_folders():
        yield Finding("error", place, "it is gone or empty, and steps have run here", remedy)


def _history(record: Record, standing: Standing) -> Iterator[Finding]:
    """What cannot have happened; behind a damaged line anything looks so, and nothing is judged."""
    remedy = (
        "lines were edited, or two runners wrote at once; what is done may be wrong: compare it with the "
        "logs, and run the steps in doubt again with --rerun STEP"
    )
    for number, text in violations(record.events[: record.whole])[:MOST_TOLD]:
        yield Finding("error", standing.run.events.name, f"event {number}: {text}", remedy)


def _oddities(record: Record, standing: Standing) -> Iterator[Finding]:
    place = standing.run.events.name
    if record.torn_bytes and not standing.is_alive:
        text = f"the last line is torn ({record.torn_bytes} bytes): its runner was killed while it wrote"
        yield Finding("info", place, text, f"nothing; the next start cuts it off: {standing.resume}")
    back = backward_times(record.events)
    if back:
        text = f"time goes back at event {back[0]}" + (f" and {len(back) - 1} more" if len(back) > 1 else "")
        remedy = "durations of steps may be wrong; keep the clocks of all hosts together (NTP)"
        yield Finding("warning", place, text, remedy)
    kinds = {str(event["event"]) for event in record.events}
    unknown = sorted(kinds - FIELDS.keys())
    if unknown:
        text = f"events that this version does not know: {', '.join(unknown)}"
        yield Finding("info", place, text, "nothing; a newer version wrote them")
