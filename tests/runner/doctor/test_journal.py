"""Faults of events.jsonl, planted in the journal of a real run."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from runner.doctor import examine
from tests.runner.doctor.planting import findings, rewrite, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.rundir import RunDir

PLACE = "events.jsonl"


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda line: line.replace(b'"done"', b'"failed"'), "line 3: its checksum does not fit; restore /"),
        (lambda line: b"\0" * len(line), "line 3: it is no event; restore /"),
        (lambda line: b"[" * 100_000, "line 3: it is no event; restore /"),
        (lambda line: b"{}", "line 3: it is no event; restore /"),
    ],
    ids=["changed", "zeros", "deep", "empty"],
)
def test_a_damaged_line_is_an_error(finished: RunDir, damage: Callable[[bytes], bytes], text: str) -> None:
    lines = finished.events.read_bytes().splitlines()
    lines[2] = damage(lines[2])
    finished.events.write_bytes(b"\n".join(lines) + b"\n")
    assert [place for level, place in findings(finished) if level == "error"] == [PLACE]
    assert told(finished, PLACE).startswith(text)


def test_many_damaged_lines_are_told_in_short(finished: RunDir) -> None:
    finished.events.write_bytes(b"x\n" * 20)
    assert [place for level, place in findings(finished) if level == "error"] == [PLACE] * 6


def test_a_line_that_is_missing_is_an_error(finished: RunDir) -> None:
    lines = finished.events.read_bytes().splitlines(keepends=True)
    finished.events.write_bytes(b"".join(lines[:4] + lines[5:]))
    first, *rest = [place for level, place in findings(finished) if level == "error"]
    assert (first, set(rest)) == (PLACE, {PLACE})


def test_an_illegal_history_with_sound_checksums_is_an_error(finished: RunDir) -> None:
    rewrite(finished, lambda events: [event for event in events if event.get("step") != "expand"])
    assert findings(finished)[:2] == [("error", PLACE)] * 2
    assert "before expand was done" in next(one.text for one in examine(finished).findings)


def test_an_event_without_its_fields_is_an_error_and_what_follows_is_still_read(finished: RunDir) -> None:
    def edit(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        del events[1]["fingerprint"]
        return events

    rewrite(finished, edit)
    assert findings(finished) == [("error", PLACE)]
    assert told(finished, PLACE).startswith("line 2: its fingerprint cannot be understood")


def test_a_clock_that_went_back_is_a_warning(finished: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(100, 0, -1))
    monkeypatch.setattr("runner.journal.time.time", lambda: float(next(times)))
    rewrite(finished, lambda events: events)
    monkeypatch.undo()
    assert findings(finished) == [("warning", PLACE)]
    assert told(finished, PLACE).startswith("time goes back at event 2 and ")


def test_a_torn_last_line_goes_by_itself(stopped: RunDir) -> None:
    with stopped.events.open("ab") as file:
        file.write(b'{"event":"step_sta')
    assert findings(stopped) == []
    assert told(stopped, PLACE).startswith("the last line is torn (18 bytes)")


def test_an_event_of_a_newer_version_is_told(finished: RunDir) -> None:
    rewrite(finished, lambda events: [*events, {"event": "moon_phase"}])
    assert findings(finished, least="info") == [("info", PLACE)]
    assert "moon_phase" in told(finished, PLACE)


def test_a_journal_that_lost_its_end_is_found_by_the_logs_of_what_it_does_not_tell(finished: RunDir) -> None:
    """Whole lines are cut off, as a disk may lose them; a torn file would be seen by itself."""
    lines = finished.events.read_bytes().splitlines(keepends=True)
    begins = [number for number, line in enumerate(lines) if json.loads(line)["event"] == "run_started"]
    finished.events.write_bytes(b"".join(lines[: begins[-1] + 1]))
    places = [place for level, place in findings(finished) if level == "error"]
    assert "stage2/logs/attempt-2" in places
    assert "test/logs/attempt-1" in places


@pytest.mark.parametrize("text", [b"", b'{"event":'])
def test_an_empty_journal_where_steps_have_run_is_an_error(finished: RunDir, text: bytes) -> None:
    finished.events.write_bytes(text)
    assert ("error", PLACE) in findings(finished)


def test_a_run_that_was_killed_before_its_first_event_is_sound(finished: RunDir) -> None:
    for path in finished.path.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    finished.events.write_bytes(b"")
    assert findings(finished, least="info") == []
    finished.events.unlink()
    assert findings(finished, least="info") == []


def test_a_folder_in_place_of_the_journal_is_an_error(finished: RunDir) -> None:
    finished.events.unlink()
    finished.events.mkdir()
    assert ("error", PLACE) in findings(finished)
