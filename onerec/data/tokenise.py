"""Tokenise many files with several processes; a file that is done stays done whatever happens."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from onerec.data.render import Renderer
from onerec.data.report import FileReport, Options
from onerec.data.workers import begin_worker, worker_context
from onerec.data.write import TokenPaths, tokenise_file
from onerec.errors import OneRecError
from onerec.progress import Progress

SMALL_BYTES = 8 << 20
"""Less than this is done before a process has started."""
SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True)
class Task:
    """One file to tokenise."""

    location: str
    size: int
    """Bytes."""
    paths: TokenPaths


@dataclass(frozen=True)
class Recipe:
    """How the files are tokenised."""

    tokenizer_dir: str
    options: Options
    processes: int
    """0 is one per core."""


def tokenise_files(
    tasks: Sequence[Task], recipe: Recipe, renderer: Renderer, output_dir: Path
) -> list[FileReport]:
    """Reports of all files in order, doing what is not done; raises DataError for an unreadable file."""
    todo = [task for task in tasks if not is_done(task.paths)]
    if len(todo) < len(tasks):
        tell(f"{len(tasks) - len(todo)} of {len(tasks)} files are prepared already")
    work = _in_processes(todo, recipe) if _processes(todo, recipe) > 1 else _here(todo, recipe, renderer)
    _follow(work, total=len(tasks), done=len(tasks) - len(todo), output_dir=output_dir)
    return [FileReport.from_json(json.loads(task.paths.report.read_bytes())) for task in tasks]


def is_done(paths: TokenPaths) -> bool:
    """Whether a file was tokenised to its end: the report is written last."""
    return paths.report.is_file() and paths.tokens.is_file() and paths.rejects.is_file()


def tell(line: str) -> None:
    """One line on stdout, at once."""
    sys.stdout.write(f"prepare: {line}\n")
    sys.stdout.flush()


def _processes(todo: Sequence[Task], recipe: Recipe) -> int:
    if sum(task.size for task in todo) < SMALL_BYTES:
        return 1
    return min(len(todo), recipe.processes or len(os.sched_getaffinity(0)))


def _here(todo: Sequence[Task], recipe: Recipe, renderer: Renderer) -> Iterator[FileReport]:
    for task in todo:
        yield tokenise_file(task.location, task.paths, renderer, recipe.options)


def _in_processes(todo: Sequence[Task], recipe: Recipe) -> Iterator[FileReport]:
    pool = ProcessPoolExecutor(
        _processes(todo, recipe),
        mp_context=worker_context("onerec.data.write"),
        initializer=_begin,
        initargs=(recipe,),
    )
    try:
        for future in as_completed([pool.submit(_in_worker, task) for task in todo]):
            yield future.result()
    except BrokenProcessPool as fault:
        raise OneRecError(
            "a tokenising process was killed, most likely because memory ran out; "
            "lower num_processes of the dataset and run again: finished files are kept"
        ) from fault
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worker: list[tuple[Renderer, Options]] = []


def _begin(recipe: Recipe) -> None:
    begin_worker()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # there is a process for every core already
    options = recipe.options
    renderer = Renderer(
        recipe.tokenizer_dir,
        only_assistant_loss=options.only_assistant_loss,
        add_think_pattern=options.add_think_pattern,
    )
    _worker.append((renderer, options))


def _in_worker(task: Task) -> FileReport:
    renderer, options = _worker[0]
    return tokenise_file(task.location, task.paths, renderer, options)


def _follow(work: Iterator[FileReport], *, total: int, done: int, output_dir: Path) -> None:
    """Draw the work along, telling how far it is now and then."""
    progress = Progress(output_dir, total=total, unit="files", start=done)
    began = told = time.monotonic()
    samples = tokens = 0
    for report in work:
        done += 1
        counts = report.total()
        samples, tokens = samples + counts.samples, tokens + counts.tokens
        now = time.monotonic()
        rate = tokens / max(now - began, 1e-9)
        progress.update(done, tokens_per_second=rate)
        if now - told > SECONDS_BETWEEN_LINES or done == total:
            told = now
            tell(f"{done}/{total} files, {samples:,} samples, {tokens:,} tokens, {rate:,.0f} tokens/s")
