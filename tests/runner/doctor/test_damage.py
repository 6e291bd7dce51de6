"""Damage of every kind, in every record that the doctor reads: findings, and never an error of its own."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runner.doctor import examine
from tests.runner.doctor.planting import findings, rewrite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.rundir import RunDir

RECORDS = (
    "events.jsonl",
    "lock",
    "stage2/config.json",
    "stage2/data.json",
    "stage2/latest",
    "stage2/metrics.jsonl",
    "stage2/result.json",
    "stage2/logs/attempt-1/rank-00000.pid.json",
    "stage2/step13/COMMIT.json",
    "stage2/step13/global_step13/trainer.json",
)
GARBAGE = (
    b"",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"{}",
    b"\xff\xfe\0",
    b"[" * 100_000,
    b'{"step": ' + b"9" * 10_000 + b"}\n",
    b'{"step": NaN, "data": Infinity}\n',
    "\u2028\u0085\n".encode(),
)
STRANGE: tuple[Any, ...] = (
    None,
    True,
    -1,
    1.5,
    10**30,
    "",
    "x",
    "\0",
    [],
    [None],
    {},
    {"": None},
    math.nan,
)


@pytest.mark.parametrize("place", RECORDS)
def test_a_record_that_holds_garbage(finished: RunDir, place: str) -> None:
    for text in GARBAGE:
        (finished.path / place).write_bytes(text)
        examine(finished)
        examine(finished, fast=True)


@pytest.mark.parametrize("place", [*RECORDS, "stage2/step13", "stage2/logs", "stage2", "control", "data"])
def test_a_file_in_place_of_a_folder_and_a_folder_in_place_of_a_file(finished: RunDir, place: str) -> None:
    path = finished.path / place
    was_folder = path.is_dir()
    if path.exists():
        path.rename(path.with_name("moved"))
    for make in (Path.touch, Path.mkdir) if was_folder else (Path.mkdir, Path.touch):
        make(path)
        examine(finished)
        path.rmdir() if path.is_dir() else path.unlink()
    path.symlink_to(path.name)  # to itself
    examine(finished)


@pytest.mark.parametrize("place", [place for place in RECORDS if place.endswith(".json")])
def test_a_record_with_strange_values(finished: RunDir, place: str) -> None:
    """Each value of it, at every depth, is replaced by something of another kind or size."""
    path, pick = finished.path / place, random.Random(place)
    whole = json.loads(path.read_bytes())
    for spot in spots(whole):
        path.write_text(json.dumps(replaced(whole, spot, pick.choice(STRANGE))))
        examine(finished, fast=True)


def test_a_journal_with_strange_values_and_sound_checksums(finished: RunDir) -> None:
    pick = random.Random(5)
    sound = finished.events.read_bytes()
    for _ in range(150):
        finished.events.write_bytes(sound)
        rewrite(finished, lambda events: [strange(event, pick) for event in events])
        examine(finished, fast=True)


def strange(event: dict[str, Any], pick: random.Random) -> dict[str, Any]:
    """The event, or (one in four) with something in it replaced."""
    places = [spot for spot in spots(event) if spot and spot[0] not in {"event", "argv", "seq", "time"}]
    if pick.random() > 0.25 or not places:
        return event
    return replaced(event, pick.choice(places), pick.choice(STRANGE))


def spots(document: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Ways to every value of a document."""
    yield before
    pairs = dict(enumerate(document)) if isinstance(document, list) else document
    for key in pairs if isinstance(pairs, dict) else ():
        yield from spots(document[key], (*before, key))


def replaced(document: Any, spot: tuple[Any, ...], value: Any) -> Any:
    """A copy in which one value is another."""
    if not spot:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[spot[0]] = replaced(document[spot[0]], spot[1:], value)
    return copy


def test_files_that_have_nothing_to_do_with_it_are_left_alone(finished: RunDir) -> None:
    home = finished.stage("stage2")
    for name in ("step007", "step-5", "stepping", "step5.bak", "logs/attempt-x", "logs/attempt-1.bak"):
        (home.path / name).mkdir()
    (home.path / "step14").touch()
    (finished.path / "notes.txt").touch()
    assert findings(finished) == [("warning", "stage2/step007"), ("warning", "stage2/step14")]
