from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from runner.curves import PLAIN_BLOCKS, course, finite, read_rows, sparkline, tail_rows, thin


def write(path: Path, count: int) -> Path:
    """Rows of the size that training writes, the loss falling from 10 to 0."""
    filler = {f"source{number}": 1 / 3 for number in range(20)}
    with path.open("w") as file:
        for step in range(count):
            file.write(json.dumps({"step": step, "loss": 10 - 10 * step / count, "x": filler}) + "\n")
    return path


@pytest.mark.parametrize("count", [1, 5, 24, 700, 5000])
def test_the_course_is_the_same_for_short_and_long_files(tmp_path: Path, count: int) -> None:
    found = course(write(tmp_path / "metrics.jsonl", count), "loss", points=24)
    assert len(found) == min(count, 24)
    assert found == sorted(found, reverse=True)
    assert (found[0], found[-1]) == (pytest.approx(10, abs=0.3), pytest.approx(10 / min(count, 24), abs=0.5))


def test_a_long_file_is_read_in_places_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "metrics.jsonl", 100_000)
    parsed, loads = [], json.loads

    def counting(line: bytes) -> object:
        parsed.append(len(line))
        return loads(line)

    monkeypatch.setattr("runner.curves.json.loads", counting)
    assert len(course(path, "loss", points=24)) == 24
    assert tail_rows(path)[-1]["step"] == 99_999
    assert sum(parsed) < 500_000 < path.stat().st_size / 50


def test_what_is_no_row_or_no_number_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(
        b'{"loss": 1}\n[]\nnot json\n{"loss": NaN}\n{"loss": "2"}\n{"no": 1}\n\xff\n{"loss": 3}\n{"lo'
    )
    assert course(path, "loss", points=24) == [1, 3]
    assert [row.get("loss") for row in read_rows(path)][-1] == 3
    assert tail_rows(path)[-1] == {"loss": 3}
    missing = tmp_path / "none"
    assert (course(missing, "loss", points=24), tail_rows(missing), list(read_rows(missing))) == ([], [], [])


def test_a_sparkline_goes_from_the_lowest_to_the_highest() -> None:
    assert sparkline([7, 6, 5, 4, 3, 2, 1, 0]) == "█▇▆▅▄▃▂▁"
    assert sparkline([0, 7], blocks=PLAIN_BLOCKS) == "_#"
    assert (sparkline([2, 2]), sparkline([])) == ("▁▁", "")


def test_thinning_keeps_ends_and_spikes() -> None:
    pick = random.Random(1)
    points = [(float(x), pick.random()) for x in range(100_000)]
    points[77_777] = (77_777.0, 99.0)
    points[33_333] = (33_333.0, -99.0)
    found = thin(points, limit=400)
    assert len(found) <= 400
    assert found == sorted(found)
    assert {points[0], points[-1], points[77_777], points[33_333]} <= set(found)
    assert thin(points[:400], limit=400) == points[:400]
    assert thin([(float(x), 1.0) for x in range(1000)], limit=20)[0] == (0.0, 1.0)


@pytest.mark.parametrize("value", [None, True, "1", math.nan, math.inf, [1], 10**400])
def test_what_cannot_be_drawn(value: object) -> None:
    assert finite(value) is None
