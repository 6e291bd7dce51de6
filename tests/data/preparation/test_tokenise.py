"""How far a preparation is, as the console and progress.json tell it."""

from __future__ import annotations

import json

import pytest

from onerec.data.preparation import tokenise
from onerec.data.preparation.crew import Task
from onerec.data.preparation.prepare import prepare
from onerec.data.preparation.ranks import shares
from onerec.data.preparation.tally import Counts
from onerec.data.preparation.write import Done, TokenPaths
from onerec.errors import StorageError


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test moves."""
    now = [1000.0]
    monkeypatch.setattr("onerec.data.preparation.tokenise.time.monotonic", lambda: now[0])
    return now


def tasks(tmp_path, *sizes):
    return [Task(f"{n}", size, TokenPaths.of(tmp_path, str(n))) for n, size in enumerate(sizes)]


def test_time_left_goes_by_bytes_of_input_and_moves_within_a_file(tmp_path, clock, capsys):
    files = tasks(tmp_path, 100, 900, 50)
    account = tokenise._Account(tmp_path, tasks=files, todo=files[:2], is_main=True)
    clock[0] += 10
    account.show(Counts(files=0, bytes=250, samples=5, tokens=4000))
    told = json.loads((tmp_path / "progress.json").read_text())
    assert told == {
        "done": 1,
        "total": 3,
        "unit": "files",
        "eta_seconds": 30.0,
        "tokens_per_second": 400.0,
        "bytes_done": 250,
        "bytes_total": 1000,
    }
    assert capsys.readouterr().out.splitlines() == [
        "prepare: 1 of 3 files are prepared already",
        "prepare: 1/3 files, 5 samples, 4,000 tokens, 400 tokens/s, 30 s left",
    ]


def test_the_end_is_told_once_and_lines_come_seconds_apart(tmp_path, clock, capsys):
    files = tasks(tmp_path, 100)
    account = tokenise._Account(tmp_path, tasks=files, todo=files, is_main=True)
    for step in range(1, 101):
        clock[0] += 0.1
        account.show(Counts(files=0, bytes=step, samples=step, tokens=step))
    account.show(Counts(files=1, bytes=100, samples=100, tokens=100))
    account.show(Counts(files=1, bytes=100, samples=100, tokens=100))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[-1] == "prepare: 1/1 files, 100 samples, 100 tokens, 10 tokens/s"


def test_other_ranks_tell_nothing(tmp_path, clock, capsys):
    files = tasks(tmp_path, 100)
    tokenise._Account(tmp_path, tasks=files, todo=[], is_main=False).show(Counts(files=1))
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "progress.json").exists()


@pytest.mark.parametrize("ranks", [1, 2, 3, 7, 40])
def test_ranks_share_all_files_once_and_evenly(ranks):
    sizes = [(37 * number * number) % 1009 for number in range(30)]
    parts = shares(sizes, ranks)
    assert sorted(place for part in parts for place in part) == list(range(30))
    loads = [sum(sizes[place] for place in part) for part in parts]
    assert max(loads) - min(loads) <= max(sizes)
    assert parts == shares(sizes, ranks)
    assert all(
        [sizes[place] for place in part] == sorted((sizes[p] for p in part), reverse=True) for part in parts
    )


def test_a_full_disk_is_told_with_place_and_remedy_when_little_is_done_here(
    make_config, parquet_dir, monkeypatch
):
    def fail(*_):
        yield Done(share=0.5, samples=1, tokens=1)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tokenise, "tokenise_file", fail)
    told = r"tokens/\w+\.arrow: .*No space left on device; free space or mend the disk, then run again"
    with pytest.raises(StorageError, match=told):
        prepare(make_config(parquet_dir))
