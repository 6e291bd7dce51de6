"""Processes that tokenise files: one loads the tokenizer and forks the others, which share its memory.

Loading takes seconds and hundreds of megabytes; a host with a hundred cores would spend them a hundred times.
A fault of one ends all of them; a file that is done stays done.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, ForkServerContext

from onerec.data.loading.workers import begin_worker, worker_context
from onerec.data.preparation.report import Options
from onerec.data.preparation.tally import Counts, Queue, Tally
from onerec.data.preparation.write import TokenPaths, tokenise_file
from onerec.data.source.sources import shown
from onerec.data.text.render import Renderer
from onerec.errors import ConfigError, OneRecError, StorageError

SECONDS_TO_GIVE_UP = 10.0
"""How long processes may take to leave the files they are at, before they are killed."""


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

    def renderer(self) -> Renderer:
        """A renderer with these options; raises ConfigError when the tokenizer is unusable."""
        return Renderer(
            self.tokenizer_dir,
            only_assistant_loss=self.options.only_assistant_loss,
            add_think_pattern=self.options.add_think_pattern,
        )


@dataclass(frozen=True)
class Job:
    """What all processes of a crew share."""

    tasks: Sequence[Task]
    recipe: Recipe
    tally: Tally
    queue: Queue


class GivenUpError(Exception):
    """The file is left because another one failed."""


def crew_context() -> ForkServerContext:
    """Start method of a crew; its server begins to import what is needed, which takes seconds, at once."""
    return worker_context("onerec.data.preparation.crew")


class Crew:
    """`processes` processes at work on the tasks, first come, first served."""

    def __init__(self, tasks: Sequence[Task], recipe: Recipe, processes: int) -> None:
        context = crew_context()
        self._job = Job(tasks, recipe, Tally(len(tasks)), Queue(len(tasks), context))
        self._news, voice = context.Pipe(duplex=False)
        self._foreman = context.Process(target=_oversee, args=(self._job, processes, voice))
        self._foreman.start()
        voice.close()
        self._is_over = False

    @property
    def counts(self) -> Counts:
        """What is done so far."""
        return self._job.tally.counts()

    @property
    def is_finished(self) -> bool:
        """Whether all processes are gone."""
        return self._is_over

    def fault_within(self, seconds: float) -> OneRecError | None:
        """The fault that one of the processes tells of; None when there is none within this time.

        Returns as soon as all are finished.
        """
        if not wait([self._news], seconds):
            return None
        try:
            fault: OneRecError = self._news.recv()
        except EOFError:
            self._foreman.join()
            self._is_over = True
            return _death("the first", self._foreman.exitcode, at="") if self._foreman.exitcode else None
        return fault

    def end(self) -> None:
        """Wait for the processes to leave what they are at, and kill those that do not."""
        self._job.queue.close()
        self._foreman.join(SECONDS_TO_GIVE_UP)
        self._foreman.kill()  # those that it has forked die with it
        self._foreman.join()


def _oversee(job: Job, processes: int, voice: Connection) -> None:
    """Fork the processes when the tokenizer is loaded, and tell of the first fault of each."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # there is a process for every core already
    try:
        renderer = job.recipe.renderer()
    except ConfigError as fault:
        voice.send(fault)
        return
    context = multiprocessing.get_context("fork")
    workers = [_Worker(context, job, renderer) for _ in range(processes)]
    begin_worker()  # only now: it starts a thread, and a process with threads cannot be forked safely
    while workers:
        wait([worker.process.sentinel for worker in workers])
        for worker in [worker for worker in workers if not worker.process.is_alive()]:
            workers.remove(worker)
            told = worker.fault(job)
            if told is not None:
                job.queue.close()
                voice.send(told)


class _Worker:
    """One forked process, and what it said last."""

    def __init__(self, context: ForkContext, job: Job, renderer: Renderer) -> None:
        self._news, voice = context.Pipe(duplex=False)
        self.process = context.Process(target=_work, args=(job, renderer, voice))
        self.process.start()
        voice.close()

    def fault(self, job: Job) -> OneRecError | None:
        """Why it ended, once it has; None when its work was done."""
        with suppress(EOFError):
            if self._news.poll():
                told: OneRecError = self._news.recv()
                return told
        if not self.process.exitcode:
            return None
        place = job.tally.place_of(self.process.pid)
        at = "" if place is None else f" while it was at {shown(job.tasks[place].location)}"
        return _death(f"process {self.process.pid}, a", self.process.exitcode, at=at)


def _death(which: str, code: int, *, at: str) -> OneRecError:
    if code == -signal.SIGKILL:
        how = "was killed", ", most likely because memory ran out; lower num_processes of the dataset"
    else:
        how = f"ended with {code}", "; what it said stands above; mend that"
    return OneRecError(
        f"{which} tokenising process, {how[0]}{at}{how[1]} and run again: finished files are kept"
    )


def _work(job: Job, renderer: Renderer, voice: Connection) -> None:
    """Tokenise one file after the other; tell of a fault."""
    begin_worker()
    try:
        while (place := job.queue.draw()) is not None:
            job.tally.begin(place)
            _tokenise(job, place, renderer)
    except OneRecError as fault:
        voice.send(fault)
    except OSError as fault:
        voice.send(StorageError(f"{fault}; free space or mend the disk, then run again"))
    except GivenUpError:
        return


def _tokenise(job: Job, place: int, renderer: Renderer) -> None:
    task, tally = job.tasks[place], job.tally

    with closing(tokenise_file(task.location, task.paths, renderer, job.recipe.options)) as work:
        for done in work:
            if job.queue.is_closed:
                raise GivenUpError
            tally.tell(
                place, bytes_done=int(done.share * task.size), samples=done.samples, tokens=done.tokens
            )
    tally.finish(place)
