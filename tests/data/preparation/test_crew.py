"""Real processes that tokenise, fail and are killed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from onerec.data.preparation.crew import Crew, Recipe, Task
from onerec.data.preparation.report import Options
from onerec.data.preparation.write import TokenPaths
from onerec.errors import ConfigError, DataError, OneRecError
from onerec.vocab import ItemicVocab
from tests.data.rows import sample_rows, write_rows
from tests.data.tokens import CODES, LAYERS, ids

FIRST = ids("<s_a_0>")[0]
OPTIONS = Options(
    only_assistant_loss=True,
    add_think_pattern=False,
    overlong="split",
    max_sample_length=256,
    itemic_ids=(FIRST, ItemicVocab(LAYERS, CODES, FIRST).last_id),
)


@pytest.fixture
def tasks(tmp_path):
    """Six files of 30, 60, ... rows."""
    paths = [
        write_rows(tmp_path / f"{n}.parquet", sample_rows(30 * n, start=1000 * n), row_group_size=20)
        for n in range(1, 7)
    ]
    (tmp_path / "tokens").mkdir()
    return [
        Task(str(path), path.stat().st_size, TokenPaths.of(tmp_path / "tokens", path.stem)) for path in paths
    ]


@pytest.fixture
def begin(tokenizer_dir):
    """Start a crew; all of it is gone when the test ends."""
    crews = []

    def start(tasks, *, processes=2, tokenizer=tokenizer_dir):
        crews.append(Crew(tasks, Recipe(str(tokenizer), OPTIONS, processes), processes))
        return crews[-1]

    yield start
    for crew in crews:
        crew.end()


def brought_to_end(crew):
    """The first fault, or None once all processes are gone."""
    deadline = time.monotonic() + 60
    while not crew.is_finished:
        fault = crew.fault_within(0.5)
        if fault is not None:
            return fault
        assert time.monotonic() < deadline
    return None


def children_of(process):
    """Processes that a process has forked."""
    path = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in path.read_text().split()]


def test_every_file_is_done_and_counted(begin, tasks):
    crew = begin(tasks)
    assert brought_to_end(crew) is None
    counts = crew.counts
    assert (counts.files, counts.samples) == (6, 630)
    assert counts.bytes == sum(task.size for task in tasks)
    assert counts.tokens > counts.samples
    assert all(path.is_file() for task in tasks for path in vars(task.paths).values())


def test_the_processes_share_the_tokenizer_of_the_one_that_forked_them(begin, tasks):
    crew = begin(tasks, processes=3)
    foreman = crew._foreman.pid
    deadline = time.monotonic() + 60
    seen = set()
    while not crew.is_finished and time.monotonic() < deadline:
        assert crew.fault_within(0.001) is None
        if Path(f"/proc/{foreman}").exists():
            seen |= set(children_of(foreman))
    assert len(seen) == 3


def test_an_unreadable_file_is_told_and_what_is_done_stays(begin, tasks):
    damaged = bytearray(Path(tasks[5].location).read_bytes())
    damaged[50] ^= 0xFF
    damaged[300] ^= 0xFF
    Path(tasks[5].location).write_bytes(damaged)
    crew = begin(tasks, processes=1)
    fault = brought_to_end(crew)
    crew.end()
    assert isinstance(fault, DataError)
    assert "6.parquet" in str(fault)
    assert all(task.paths.report.is_file() for task in tasks[:5])
    assert not list(tasks[0].paths.tokens.parent.glob(".*"))


def test_a_tokenizer_that_cannot_be_loaded_is_told(begin, tasks):
    fault = brought_to_end(begin(tasks, tokenizer="nowhere"))
    assert isinstance(fault, ConfigError)
    assert "nowhere: no such folder" in str(fault)


def test_a_disk_that_fails_is_told_as_storage(begin, tasks):
    tasks[0].paths.tokens.parent.rmdir()
    fault = brought_to_end(begin(tasks))
    assert type(fault).__name__ == "StorageError"
    assert "tokens" in str(fault)


@pytest.mark.parametrize("victim", ["worker", "foreman"])
def test_a_killed_process_is_told_with_the_file_it_was_at_and_nothing_hangs(
    begin, tmp_path, tokenizer_dir, victim
):
    big = write_rows(tmp_path / "big.parquet", sample_rows(60_000), row_group_size=2000)
    small = write_rows(tmp_path / "small.parquet", sample_rows(10, start=100_000))
    (tmp_path / "tokens").mkdir()
    tasks = [
        Task(str(path), path.stat().st_size, TokenPaths.of(tmp_path / "tokens", path.stem))
        for path in (small, big)
    ]
    crew = begin(tasks, processes=1)
    deadline = time.monotonic() + 60
    while crew.counts.samples <= 10 and time.monotonic() < deadline:
        assert crew.fault_within(0.002) is None
    foreman = crew._foreman.pid
    [worker] = children_of(foreman)
    os.kill(worker if victim == "worker" else foreman, signal.SIGKILL)
    fault = brought_to_end(crew)
    crew.end()
    assert isinstance(fault, OneRecError)
    assert "was killed" in str(fault)
    assert "lower num_processes of the dataset and run again: finished files are kept" in str(fault)
    assert ("big.parquet" in str(fault)) == (victim == "worker")
    assert tasks[0].paths.report.is_file()
    assert not tasks[1].paths.report.exists()
    while Path(f"/proc/{worker}/exe").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert time.monotonic() < deadline


def test_work_that_is_given_up_leaves_the_files_it_was_at_and_nothing_half_done(begin, tmp_path):
    big = write_rows(tmp_path / "big.parquet", sample_rows(60_000), row_group_size=2000)
    (tmp_path / "tokens").mkdir()
    task = Task(str(big), big.stat().st_size, TokenPaths.of(tmp_path / "tokens", "big"))
    crew = begin([task])
    deadline = time.monotonic() + 60
    while not crew.counts.samples and time.monotonic() < deadline:
        assert crew.fault_within(0.002) is None
    counts = crew.counts
    assert 0 < counts.bytes < big.stat().st_size
    assert counts.files == 0
    crew.end()
    assert not list((tmp_path / "tokens").iterdir())
