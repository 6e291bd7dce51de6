from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from onerec.errors import ConfigError
from runner.follow import logs_of, read_logs
from runner.journal import Journal
from runner.process import identify
from runner.rundir import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run owned by this process; b started after a, c not at all."""
    run = RunDir(tmp_path)
    journal = Journal(run.events)
    steps = [
        {"name": name, "kind": "train", "stage": name, "folder": name, "output_dir": name} for name in "abc"
    ]
    journal.append("run_started", owner=identify(os.getpid()), steps=steps, manifest_dir="/", overrides=[])
    for name in "ab":
        run.stage(name).logs(1).mkdir(parents=True)
        journal.append("step_started", step=name, attempt=1, fingerprint="f", ingredients={})
    journal.close()
    return run


def test_without_a_stage_it_is_the_one_started_last(run: RunDir) -> None:
    assert logs_of(run, stage=None, rank=None) == [run.stage("b").stdout, run.stage("b").stderr]
    assert logs_of(run, stage="a", rank=None) == [run.stage("a").stdout, run.stage("a").stderr]


def test_a_rank_s_logs_are_those_of_its_newest_attempt(run: RunDir) -> None:
    home = run.stage("a")
    for attempt in (9, 10):
        home.logs(attempt).mkdir()
        home.rank_log(attempt, 1, "stdout").touch()
    assert logs_of(run, stage="a", rank=1)[0] == home.rank_log(10, 1, "stdout")


def test_a_stage_that_has_not_started_is_told(run: RunDir) -> None:
    with pytest.raises(ConfigError, match="has no logs; the step has not started yet"):
        logs_of(run, stage="c", rank=0)


def test_text_is_read_whole_even_when_a_letter_is_cut_in_two(run: RunDir) -> None:
    path = run.stage("a").stdout
    text = "é" * 70_000 + "x"
    path.write_text("x" + text, encoding="utf-8")
    assert "".join(read_logs([path, run.stage("a").stderr], run=run, follow=False)) == "x" + text


def test_following_shows_what_is_added_until_the_run_has_ended(run: RunDir) -> None:
    path = run.stage("a").stdout
    path.write_text("before\n")
    seen: list[str] = []
    arrived = threading.Event()

    def follow() -> None:
        for text in read_logs([path], run=run, follow=True):
            seen.append(text)
            arrived.set()

    reader = threading.Thread(target=follow)
    reader.start()
    assert arrived.wait(10)
    with path.open("a") as file:
        file.write("after\n")
    journal = Journal(run.events)
    journal.append("run_ended", state="done", exit_code=0, reason=None)
    journal.close()
    reader.join(10)
    assert "".join(seen) == "before\nafter\n"
