from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from onerec.errors import ConfigError
from runner.follow import LogFile, Wanted, logs_of, pattern_of, read_logs
from runner.journal import Journal
from runner.process import identify
from runner.rundir import RunDir


def start(run: RunDir, step: str, attempt: int) -> None:
    journal = Journal(run.events)
    run.stage(step).logs(attempt).mkdir(parents=True, exist_ok=True)
    journal.append("step_started", step=step, attempt=attempt, fingerprint="f", ingredients={})
    journal.close()


def end(run: RunDir) -> None:
    journal = Journal(run.events)
    journal.append("run_ended", state="done", exit_code=0, reason=None)
    journal.close()


def write(run: RunDir, step: str, attempt: int, texts: dict[int, tuple[str, str]], *, hosts: int = 1) -> None:
    """What each rank wrote to stdout and stderr, and who it was."""
    home = run.stage(step)
    home.logs(attempt).mkdir(parents=True, exist_ok=True)
    for rank, pair in texts.items():
        for stream, text in zip(("stdout", "stderr"), pair, strict=True):
            home.rank_log(attempt, rank, stream).write_text(text)
        record = {"rank": rank, "shim": {**identify(os.getpid()), "host": f"host{rank % hosts}"}}
        home.logs(attempt).joinpath(f"rank-{rank:05d}.pid.json").write_text(json.dumps(record))


def shown(run: RunDir, **wanted: object) -> list[str]:
    return list(read_logs(run, Wanted(**wanted), follow=False))  # type: ignore[arg-type]


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run owned by this process; b started after a, c not at all."""
    run = RunDir(tmp_path)
    journal = Journal(run.events)
    steps = [
        {"name": name, "kind": "train", "stage": name, "folder": name, "output_dir": name} for name in "abc"
    ]
    journal.append("run_started", owner=identify(os.getpid()), steps=steps, manifest_dir="/", overrides=[])
    journal.close()
    start(run, "a", 1)
    start(run, "b", 1)
    return run


def test_without_a_stage_it_is_the_one_started_last(run: RunDir) -> None:
    a, b = run.stage("a"), run.stage("b")
    assert logs_of(run, Wanted()) == [LogFile(b.stdout), LogFile(b.stderr)]
    assert logs_of(run, Wanted(stage="a")) == [LogFile(a.stdout), LogFile(a.stderr)]


def test_a_rank_s_logs_are_those_of_its_newest_attempt_or_of_the_one_named(run: RunDir) -> None:
    for attempt in (9, 10):
        write(run, "a", attempt, {0: ("", ""), 1: (f"of {attempt}\n", "wrong\n")})
    assert shown(run, stage="a", rank=1) == ["of 10\n", "wrong\n"]
    assert shown(run, stage="a", rank=1, attempt=9) == ["of 9\n", "wrong\n"]
    assert shown(run, stage="a", rank=1, errors=True) == ["wrong\n"]


def test_all_ranks_are_shown_in_order_each_line_with_its_rank(run: RunDir) -> None:
    write(run, "b", 1, {1: ("one\n", "first\nsecond\n"), 0: ("zero\n", "")})
    everything = ["[rank 0] zero\n", "[rank 1] one\n", "[rank 1] first\n", "[rank 1] second\n"]
    assert shown(run, all_ranks=True) == shown(run, attempt=1) == everything
    assert shown(run, errors=True) == everything[2:]
    write(run, "b", 1, {0: ("zero\n", ""), 1: ("one\n", "")}, hosts=2)
    assert shown(run, all_ranks=True) == ["[rank 0 on host0] zero\n", "[rank 1 on host1] one\n"]


def test_lines_may_be_chosen_by_what_is_in_them_and_from_the_end(run: RunDir) -> None:
    lines = [f"step {number} {'x' * 100}\n" for number in range(5000)]
    run.stage("b").stdout.write_text("".join(lines) + "step 9")
    run.stage("b").stderr.write_text("no step\n")
    assert shown(run, tail=3) == [*lines[-2:], "step 9\n", "no step\n"]
    assert shown(run, tail=2000) == [*lines[-1999:], "step 9\n", "no step\n"]
    assert shown(run, pattern=pattern_of(r"^step 4\d? ")) == [lines[4], *lines[40:50]]
    assert shown(run, pattern=pattern_of(r"^step 4\d? "), tail=2) == lines[48:50]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"stage": "c", "rank": 0}, "has no logs; the step has not started yet"),
        ({"stage": "d"}, "no step 'd'; the steps are a, b, c"),
        ({"rank": 7}, "has no log of rank 7; the ranks are 0, 1"),
        ({"attempt": 3}, "has no logs of attempt 3; the attempts are 1"),
    ],
)
def test_what_there_is_not_is_told_with_what_there_is(
    run: RunDir, wanted: dict[str, object], message: str
) -> None:
    write(run, "b", 1, {0: ("", ""), 1: ("", "")})
    with pytest.raises(ConfigError, match=message):
        shown(run, **wanted)


def test_a_pattern_that_is_none_is_told() -> None:
    with pytest.raises(ConfigError, match=r"--grep: '\(' is no regular expression"):
        pattern_of("(")


def test_control_characters_are_shown_and_not_obeyed(run: RunDir) -> None:
    run.stage("b").stdout.write_bytes(b"a\tb\x1b[2Jc\rd\r\n\xff\n")
    assert shown(run) == ["a\tb\\x1b[2Jc\\rd\n", "\ufffd\n"]


def test_a_letter_that_is_cut_in_two_and_a_line_without_end_are_read_whole(run: RunDir) -> None:
    text = "x" + "é" * 70_000
    run.stage("b").stdout.write_text(text, encoding="utf-8")
    assert shown(run) == [f"{text}\n"]


def test_following_shows_what_is_added_until_the_run_has_ended(run: RunDir) -> None:
    write(run, "b", 1, {0: ("before\n", "")})
    seen: list[str] = []
    news = threading.Semaphore(0)

    def follow() -> None:
        for line in read_logs(run, Wanted(all_ranks=True, tail=5), follow=True):
            seen.append(line)
            news.release()

    reader = threading.Thread(target=follow)
    reader.start()
    assert news.acquire(timeout=10)
    with run.stage("b").rank_log(1, 0, "stdout").open("a") as file:
        file.write("after\nunfinished")
    assert news.acquire(timeout=10)
    start(run, "b", 2)
    write(run, "b", 2, {0: ("", ""), 1: ("again\n", "")})
    assert news.acquire(timeout=10)
    start(run, "c", 1)
    write(run, "c", 1, {0: ("next step\n", "")})
    assert news.acquire(timeout=10)
    end(run)
    reader.join(10)
    assert seen == [
        "[rank 0] before\n",
        "[rank 0] after\n",
        "[rank 1] again\n",
        "[rank 0] next step\n",
        "[rank 0] unfinished\n",
    ]
