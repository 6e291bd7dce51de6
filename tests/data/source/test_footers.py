from __future__ import annotations

import threading
from pathlib import Path

import pytest

from onerec.data.source import footers
from onerec.data.source.footers import listed, read_footers
from tests.data.rows import sample_rows, write_rows


def test_every_broken_file_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    good = [write_rows(tmp_path / f"good-{number}.parquet", sample_rows(5 + number)) for number in range(3)]
    whole = good[0].read_bytes()
    broken = {
        "truncated": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"this is no parquet file at all",
    }
    for name, data in broken.items():
        (tmp_path / f"{name}.parquet").write_bytes(data)
    locations, faults = listed([str(tmp_path)])
    found = read_footers(locations)
    assert faults == []
    assert {Path(name).name: footer.rows for name, footer in found.good.items()} == {
        "good-0.parquet": 5,
        "good-1.parquet": 6,
        "good-2.parquet": 7,
    }
    assert sorted(Path(name).stem for name in found.faults) == sorted(broken)
    assert all(str(tmp_path) in fault and "; " in fault for fault in found.faults.values())
    assert found.unread == 0


def test_sources_that_cannot_be_listed_are_told_beside_those_that_can(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows" / "a.parquet", sample_rows(3))
    (tmp_path / "none").mkdir()
    locations, faults = listed([str(tmp_path / "none"), str(path), str(path.parent), str(tmp_path / "gone")])
    assert locations == [str(path)]
    assert ["none" in faults[0], "gone" in faults[1], len(faults)] == [True, True, 2]


def test_a_file_system_that_hangs_costs_only_so_much_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(write_rows(tmp_path / f"{number}.parquet", sample_rows(3))) for number in range(4)]
    is_over = threading.Event()
    read = footers.footer

    def hanging(location: str) -> footers.Footer:
        if location == paths[2]:
            is_over.wait()
        return read(location)

    monkeypatch.setattr(footers, "footer", hanging)
    failsafe = threading.Timer(20, is_over.set)  # whoever waits for the file after all reads it as a good one
    failsafe.start()
    found = read_footers(paths, seconds=1.0)
    failsafe.cancel()
    is_over.set()
    assert (list(found.good), found.faults, found.unread) == ([paths[0], paths[1], paths[3]], {}, 1)


def test_no_files_are_no_fault() -> None:
    assert read_footers([]) == footers.Footers()
