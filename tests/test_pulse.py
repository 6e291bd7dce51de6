from __future__ import annotations

import time
from pathlib import Path

import pytest

from onerec.pulse import BEACON_BYTES, Beacon, Beat, Heart, read_beacon, read_beat


def test_the_newest_document_is_shown_however_long_the_one_before_was(tmp_path: Path) -> None:
    beacon = Beacon(tmp_path / "a" / "b.json")
    for document in ({"text": "long" * 50}, {"text": ""}):
        beacon.show(document)
        assert read_beacon(tmp_path / "a" / "b.json") == document
    assert (tmp_path / "a" / "b.json").stat().st_size == BEACON_BYTES
    beacon.close()


@pytest.mark.parametrize("text", ["", '{"a": 1', "[1]", "\0" * 100])
def test_what_is_half_written_shows_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "b").write_text(text)
    assert read_beacon(tmp_path / "b") is None
    assert read_beat(tmp_path / "b") is None


def test_every_beat_differs_from_the_one_before(tmp_path: Path) -> None:
    heart, path = Heart(tmp_path / "rank.json"), tmp_path / "rank.json"
    heart.beat("set-up")
    assert read_beat(path) == Beat("set-up", 0, 1)
    heart.beat("step", 3)
    heart.beat("data")
    assert read_beat(path) == Beat("data", 3, 3)


def test_without_a_watcher_nothing_is_written(tmp_path: Path) -> None:
    Heart(None).beat("step", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_beacon_that_was_removed_keeps_quiet(tmp_path: Path) -> None:
    beacon = Beacon(tmp_path / "b")
    (tmp_path / "b").unlink()
    beacon.show({"a": 1})
    assert read_beacon(tmp_path / "b") is None


def test_a_beat_costs_microseconds(tmp_path: Path) -> None:
    heart = Heart(tmp_path / "b")
    times = []
    for _ in range(200):
        began = time.perf_counter()
        heart.beat("step", 1)
        times.append(time.perf_counter() - began)
    assert sorted(times)[100] < 1e-3
