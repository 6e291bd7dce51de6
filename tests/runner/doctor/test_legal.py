"""Histories that can have happened and histories that cannot, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runner.doctor.form import FIELDS, misfit
from runner.doctor.legal import backward_times, violations

if TYPE_CHECKING:
    from runner.journal import Event

OWNER = {"host": "host1", "boot_id": "b", "pid": 5, "start_ticks": 6}


def events(history: str) -> list[Event]:
    """`run a b, start a 1, end a done, ended done`: a plan of steps a and b, and what became of it."""
    return [_event(line.split(), time=float(number)) for number, line in enumerate(history.split(", "))]


def _event(words: list[str], *, time: float) -> Event:
    kind, *rest = words
    if kind == "run":
        steps = [{"name": n, "kind": "train", "stage": n, "folder": n, "output_dir": n} for n in rest]
        fields = {"owner": OWNER, "steps": steps, "manifest_dir": "/m", "overrides": []}
        return {"event": "run_started", "time": time, **fields}
    if kind == "start":
        step, attempt, *other = rest
        fingerprint = other[0] if other else "f"
        fields = {"step": step, "attempt": int(attempt), "fingerprint": fingerprint, "ingredients": {}}
        return {"event": "step_started", "time": time, **fields}
    if kind == "end":
        step, state, *code = rest
        fields = {"step": step, "state": state, "exit_code": _code(state, code)}
        return {"event": "step_ended", "time": time, **fields}
    if kind == "ended":
        state, *code = rest
        return {"event": "run_ended", "time": time, "state": state, "exit_code": _code(state, code)}
    if kind == "submitted":
        steps = [{"name": n, "kind": "train", "stage": n, "folder": n, "output_dir": n} for n in rest]
        fields = {"job": "7", "steps": steps, "manifest_dir": "/m", "overrides": [], "rerun": []}
        return {"event": "submitted", "time": time, **fields}
    if kind == "requeued":
        return {"event": "requeued", "time": time, "job": "7", "reached": "a at step5"}
    if kind == "changed":
        return {"event": "manifest_changed", "time": time, "changes": [{"key": name} for name in rest]}
    if kind == "invalid":
        return {"event": "steps_invalidated", "time": time, "steps": rest, "reason": "to be run again"}
    return {"event": kind, "time": time}


def _code(state: str, told: list[str]) -> int:
    return int(told[0]) if told else {"done": 0, "failed": 1, "interrupted": 75}.get(state, 1)


DONE = "run a b, start a 1, end a done, start b 1, end b done, ended done"

LEGAL = {
    "nothing yet": "run a b",
    "to its end": DONE,
    "again, with nothing to do": f"{DONE}, run a b, ended done",
    "killed before the first step": "run a b, run a b, start a 1, end a done",
    "killed in a step": "run a b, start a 1, run a b, start a 2, end a done, start b 1",
    "killed between steps": "run a b, start a 1, end a done, run a b, start b 1, end b done, ended done",
    "failed and tried again at once": "run a b, start a 1, end a failed, start a 2, end a done, start b 1",
    "failed and tried again later": "run a b, start a 1, end a failed, ended failed, run a b, start a 2",
    "stopped and gone on": "run a b, start a 1, end a interrupted, ended interrupted, run a b, start a 2",
    "stopped while it waited to try again": "run a b, start a 1, end a failed, ended interrupted",
    "stopped before anything": "run a b, ended interrupted 130",
    "no room for the end of a step": "run a b, start a 1, ended failed 9, run a b, start a 2, end a done",
    "refused at once": "run a b, ended failed 2",
    "an output of a step is gone": f"{DONE}, run a b, start a 2, end a done, ended done",
    "asked to run again": f"{DONE}, run a b, invalid a b, start a 2 g, end a done, start b 2, end b done",
    "asked again after a kill": f"{DONE}, run a b, invalid b, run a b, start b 2 g, end b done, ended done",
    "asked again after a failure": "run a b, start a 1, end a failed, ended failed, run a b, invalid a",
    "other settings after a failure": "run a, start a 1, end a failed, ended failed, run a, start a 2 g",
    "another plan": f"{DONE}, run a c b, start c 1, end c done, ended done",
    "submitted and not begun": "submitted a b",
    "a job that was queued again": (
        "submitted a, run a, start a 1, end a interrupted, ended interrupted, requeued, run a, start a 2"
    ),
    "a job after a runner that was killed": "run a b, start a 1, submitted a b, run a b, start a 2",
    "an event of a later version": "run a b, moon_phase, start a 1, moon_phase, end a done",
}

ILLEGAL = {
    "a step without a runner": ("start a 1", "a was started when no runner was at work"),
    "a step after the end": (f"{DONE}, start a 2", "a was started when no runner was at work"),
    "an end without a runner": ("ended done", "a run ended that no runner was at work on"),
    "two ends": (f"{DONE}, ended done", "a run ended that no runner was at work on"),
    "an end without a start": ("run a b, end a done", "a ended without having been started"),
    "an end twice": ("run a b, start a 1, end a done, end a done", "a ended without having been started"),
    "the end of a step that was cut off": (
        "run a b, start a 1, run a b, end a done",
        "a ended without having been started",
    ),
    "the end of a step after the run's": (
        "run a b, start a 1, ended failed, end a done",
        "a ended when no runner was at work",
    ),
    "a step that is not planned": ("run a b, start c 1", "c was started and is no step of the plan"),
    "two at once": (
        "run a b, start a 1, start b 1",
        "b was started while a was running; b was started before a was done",
    ),
    "out of order": ("run a b, start b 1", "b was started before a was done"),
    "after a failure": (
        "run a b, start a 1, end a failed, start b 1",
        "b was started before a was done",
    ),
    "after a stop": (
        "run a b, start a 1, end a interrupted, start a 2",
        "a was started after the same runner was stopped",
    ),
    "an attempt left out": ("run a b, start a 2", "attempt 2 of a follows attempt 0"),
    "an attempt twice": (
        "run a b, start a 1, end a failed, start a 1",
        "attempt 1 of a follows attempt 1",
    ),
    "numbers from 1 after it was made invalid": (
        f"{DONE}, run a b, invalid b, start b 1",
        "attempt 1 of b follows attempt 1",
    ),
    "done twice by one runner": (
        "run a b, start a 1, end a done, start a 2",
        "a was started again by the runner that had done it",
    ),
    "done with other settings": (
        f"{DONE}, run a b, start a 2 g",
        "a was done with other settings, and was started again without being asked for",
    ),
    "the run done and a step not": (
        "run a b, start a 1, end a done, ended done",
        "the run ended done, but b was not",
    ),
    "the run stopped and a step not": (
        "run a b, start a 1, ended interrupted",
        "the run ended interrupted while a was running",
    ),
    "done with an exit code": ("run a b, start a 1, end a done 6", "it ended done with exit code 6"),
    "a run done with an exit code": (DONE + " 6", "it ended done with exit code 6"),
    "failed with none": ("run a b, start a 1, end a failed 0", "it ended failed with exit code 0"),
    "an ending that is none": ("run a b, start a 1, end a running", "it ended running, which is no ending"),
    "made invalid without a runner": (
        f"{DONE}, invalid a",
        "steps were made invalid when no runner was about to begin",
    ),
    "made invalid in the middle": (
        f"{DONE}, run a b, start a 2, end a done, invalid b",
        "steps were made invalid when no runner was about to begin",
    ),
    "made invalid before it ran": ("run a b, invalid a", "a was made invalid and had no outcome"),
    "made invalid twice": (
        f"{DONE}, run a b, invalid a, invalid a",
        "a was made invalid and had no outcome",
    ),
    "a plan with a step twice": ("run a a", "its plan has a twice"),
    "a plan of a job with a step twice": ("submitted a a", "its plan has a twice"),
    "a job queued again while it works": (
        "submitted a, run a, requeued",
        "job 7 was queued again while a runner was at work",
    ),
}


@pytest.mark.parametrize("history", LEGAL.values(), ids=LEGAL.keys())
def test_a_legal_history(history: str) -> None:
    told = events(history)
    assert [event for event in told if misfit(event)] == []
    assert violations(told) == []


@pytest.mark.parametrize(("history", "fault"), ILLEGAL.values(), ids=ILLEGAL.keys())
def test_an_illegal_history(history: str, fault: str) -> None:
    told = events(history)
    assert violations(told) == [(len(told), text) for text in fault.split("; ")]


def test_a_history_goes_on_after_a_fault() -> None:
    told = events("run a b, start b 1, end b done, start a 1, end a done, ended done")
    assert violations(told) == [(2, "b was started before a was done")]


def test_times_that_go_back_are_named() -> None:
    told = events(DONE)
    told[2]["time"], told[4]["time"] = 0.5, 1.5
    assert backward_times(told) == [3, 5]
    assert backward_times([]) == []


@pytest.mark.parametrize("kind", FIELDS)
def test_an_event_of_a_kind_needs_each_of_its_fields(kind: str) -> None:
    every = events(f"{DONE}, requeued, submitted a, run a, changed seed, invalid a")[-10:]
    (sound,) = [event for event in every if event["event"] == kind][-1:]
    assert misfit(sound) is None
    for name in {"time", *FIELDS[kind]} - {"reason", "result"}:
        assert misfit({key: value for key, value in sound.items() if key != name}) == (
            f"its {name} cannot be understood"
        )
        assert misfit({**sound, name: 1.5j}) == f"its {name} cannot be understood"


@pytest.mark.parametrize("folder", ["/etc", "../other", "a/../../b", "a\0b", 5, None])
def test_a_step_stays_in_the_run_directory(folder: object) -> None:
    (sound,) = events("run a")
    steps = [{"name": "a", "kind": "train", "stage": "a", "folder": folder, "output_dir": "a"}]
    assert misfit({**sound, "steps": steps}) == "its steps cannot be understood"
