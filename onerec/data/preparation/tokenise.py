"""Tokenise many files with several processes on each of several hosts; a file that is done stays done.

Every second or so all ranks tell each other how far they are, so that none waits for long and a fault of one
ends all of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from onerec.data.preparation.crew import Crew, Recipe, Task
from onerec.data.preparation.ranks import Ranks, shares
from onerec.data.preparation.tally import Counts, Tally
from onerec.data.preparation.write import Done, TokenPaths, tokenise_file
from onerec.data.text.render import Renderer
from onerec.errors import StorageError
from onerec.progress import Progress, say

SMALL_BYTES = 64 << 20
"""Less than this is done before processes, which each import and load for seconds, have made up for it."""
SECONDS_BETWEEN_LINES = 5.0
SECONDS_BETWEEN_LOOKS = 1.0


def tokenise_files(
    tasks: Sequence[Task], recipe: Recipe, ranks: Ranks, *, output_dir: Path, renderer: Renderer | None = None
) -> Counts:
    """Do the files of `tasks` that are not done; returns what that was, over all ranks.

    All ranks call it with the same tasks. `renderer` is one that this process has loaded already. Raises
    DataError for an unreadable file, OneRecError for a process that died, on every rank.
    """
    undone = ranks.on_main(lambda: [place for place, task in enumerate(tasks) if not is_done(task.paths)])
    todo = [tasks[place] for place in undone]
    account = _Account(output_dir, tasks=tasks, todo=todo, is_main=ranks.rank == 0)
    if ranks.size == 1 and processes_for(todo, recipe) == 1:
        work = _here(todo, recipe, renderer)
    else:
        share = shares([task.size for task in todo], ranks.size)[ranks.rank]
        work = _together([todo[place] for place in share], recipe, ranks)
    counts = Counts()
    for counts in work:
        account.show(counts)
    return counts


def is_done(paths: TokenPaths) -> bool:
    """Whether a file was tokenised to its end: the report is written last."""
    return paths.report.is_file() and paths.tokens.is_file() and paths.rejects.is_file()


def tell(line: str) -> None:
    """One line on stdout, at once."""
    say(f"prepare: {line}")


def processes_for(todo: Sequence[Task], recipe: Recipe) -> int:
    """How many processes tokenise these files; 1 is this one."""
    if sum(task.size for task in todo) < SMALL_BYTES:
        return 1
    return min(len(todo), recipe.processes or len(os.sched_getaffinity(0)))


def _here(todo: Sequence[Task], recipe: Recipe, renderer: Renderer | None) -> Iterator[Counts]:
    """Do the files one by one in this process; yields the counts after each batch of rows."""
    renderer, tally = (renderer or recipe.renderer()) if todo else None, Tally(len(todo))
    for place, task in enumerate(todo):
        assert renderer is not None
        for done in _tokenised(task, recipe, renderer):
            tally.tell(
                place, bytes_done=int(done.share * task.size), samples=done.samples, tokens=done.tokens
            )
            yield tally.counts()
        tally.finish(place)
        yield tally.counts()


def _tokenised(task: Task, recipe: Recipe, renderer: Renderer) -> Iterator[Done]:
    """Tokenise one file; a disk that fails is told as a crew tells it, with the place."""
    try:
        yield from tokenise_file(task.location, task.paths, renderer, recipe.options)
    except OSError as fault:
        raise StorageError(
            f"{task.paths.tokens}: {fault}; free space or mend the disk, then run again"
        ) from fault


def _together(mine: Sequence[Task], recipe: Recipe, ranks: Ranks) -> Iterator[Counts]:
    """Do this rank's files in a crew; yields the counts of all ranks until all of them are finished."""
    crew = Crew(mine, recipe, processes_for(mine, recipe)) if mine else None
    try:
        is_finished = False
        while not is_finished:
            fault = None
            if crew is not None and not crew.is_finished:
                fault = crew.fault_within(SECONDS_BETWEEN_LOOKS)
            elif ranks.size > 1:
                time.sleep(SECONDS_BETWEEN_LOOKS)
            own = asdict(crew.counts if crew else Counts())
            told = ranks.told({"counts": own, "finished": crew is None or crew.is_finished}, fault)
            is_finished = all(one["finished"] for one in told)
            yield Counts(**{name: sum(one["counts"][name] for one in told) for name in own})
    finally:
        if crew is not None:
            crew.end()


class _Account:
    """Tells how far the work is: progress.json, and a line now and then. Time left goes by bytes of input."""

    def __init__(
        self, output_dir: Path, *, tasks: Sequence[Task], todo: Sequence[Task], is_main: bool
    ) -> None:
        self._files, self._before = len(tasks), len(tasks) - len(todo)
        self._bytes = sum(task.size for task in todo)
        self._progress = Progress(output_dir, total=len(tasks), unit="files") if is_main else None
        self._began = self._told = time.monotonic()
        self._ended = not todo
        if is_main and self._before > 0:
            tell(f"{self._before} of {len(tasks)} files are prepared already")

    def show(self, counts: Counts) -> None:
        """Tell what is done so far; called as often as anyone likes."""
        if self._progress is None:
            return
        now, done = time.monotonic(), self._before + counts.files
        seconds = max(now - self._began, 1e-9)
        rate = counts.tokens / seconds
        left = seconds / counts.bytes * (self._bytes - counts.bytes) if counts.bytes else None
        self._progress.update(
            done,
            eta_seconds=left,
            tokens_per_second=rate,
            bytes_done=counts.bytes,
            bytes_total=self._bytes,
        )
        if (now - self._told > SECONDS_BETWEEN_LINES or done == self._files) and not self._ended:
            self._told, self._ended = now, done == self._files
            left_text = f", {left:,.0f} s left" if left else ""
            tell(
                f"{done}/{self._files} files, {counts.samples:,} samples, {counts.tokens:,} tokens, "
                f"{rate:,.0f} tokens/s{left_text}"
            )
