from __future__ import annotations

import resource
from pathlib import Path

import pytest

from onerec.errors import StorageError
from runner.journal import Journal, read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with three events."""
    path = tmp_path / "events.jsonl"
    journal = Journal(path)
    for number in range(3):
        journal.append("counted", number=number, share=0.1 * number)
    journal.close()
    return path


def told(path: Path) -> list[tuple[object, object]]:
    return [(event["seq"], event["number"]) for event in read(path)]


def test_events_come_back_in_order(path: Path) -> None:
    assert told(path) == [(1, 0), (2, 1), (3, 2)]
    assert [event["share"] for event in read(path)] == [0.0, 0.1, 0.2]


def test_a_journal_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "events.jsonl") == ()


def test_wherever_the_last_line_is_torn_it_is_dropped_and_the_next_writer_goes_on(path: Path) -> None:
    whole = path.read_bytes()
    first_two = b"".join(whole.splitlines(keepends=True)[:2])
    for length in range(len(first_two), len(whole)):
        path.write_bytes(whole[:length])
        assert told(path) == [(1, 0), (2, 1)]
    journal = Journal(path)
    journal.append("counted", number=7)
    journal.close()
    assert told(path) == [(1, 0), (2, 1), (3, 7)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line.replace(b'"number":1', b'"number":2'), "its checksum does not fit"),
        (lambda line: b"{}", "it is no event"),
        (lambda line: b"[1]", "it is no event"),
        (lambda line: b'{"crc":"44136fa3"}', "it is no event"),
        (lambda line: b"[" * 100_000, "it is no event"),
        (lambda line: line[:-5], "it is no event"),
    ],
)
def test_a_damaged_line_in_the_middle_is_named(path: Path, change: object, message: str) -> None:
    lines = path.read_bytes().splitlines()
    lines[1] = change(lines[1])  # type: ignore[operator]
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(StorageError, match=f"events.jsonl, line 2: {message}"):
        read(path)


def test_a_lost_line_is_named(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])
    with pytest.raises(StorageError, match="line 2: it is event 3, so lines are missing or doubled"):
        read(path)


def test_a_line_that_the_disk_does_not_take_is_told_and_leaves_nothing_behind(path: Path) -> None:
    journal = Journal(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, limits[1]))
    try:
        with pytest.raises(StorageError, match="No space left on device; free the disk and go on"):
            journal.append("counted", number=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    journal.append("counted", number=4)
    journal.close()
    assert told(path) == [(1, 0), (2, 1), (3, 2), (4, 4)]
