"""The logs of a run as a stream of text: what is there, and on request what is still being added."""

from __future__ import annotations

import codecs
import time
from typing import TYPE_CHECKING

from onerec.errors import ConfigError
from runner.history import fold
from runner.journal import read
from runner.observe import is_owner_alive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runner.history import History
    from runner.rundir import RunDir, StepDir

POLL_SECONDS = 0.2


def logs_of(run: RunDir, *, stage: str | None, rank: int | None) -> list[Path]:
    """The log files that are meant: those of a step (default: the one started last), or of one of its ranks.

    Raises ConfigError naming what there is.
    """
    history = fold(read(run.events))
    home = run.step(_folder(history, stage))
    if rank is None:
        return [home.stdout, home.stderr]
    attempt = _last_attempt(home)
    files = [home.rank_log(attempt, rank, stream) for stream in ("stdout", "stderr")]
    if not files[0].exists():
        raise ConfigError(
            f"{home.logs(attempt)} has no log of rank {rank}; look there for the ranks there are"
        )
    return files


def read_logs(paths: list[Path], *, run: RunDir, follow: bool) -> Iterator[str]:
    """The text of the files one after the other; with `follow` what is added, until the run has ended."""
    files = [path.open("rb") for path in paths if path.exists()]
    decoders = [codecs.getincrementaldecoder("utf-8")(errors="replace") for _ in files]
    try:
        while True:
            alive = follow and is_owner_alive(run, fold(read(run.events)))
            for file, decoder in zip(files, decoders, strict=True):
                while added := file.read(1 << 16):
                    yield decoder.decode(added)
            if not alive:
                return
            time.sleep(POLL_SECONDS)
    finally:
        for file in files:
            file.close()


def _folder(history: History, stage: str | None) -> str:
    folders = {step["name"]: step["folder"] for step in history.steps}
    if stage is not None:
        if stage not in folders:
            raise ConfigError(f"no step {stage!r}; the steps are {', '.join(folders)}")
        return folders[stage]
    began = [(told.began, name) for name, told in history.by_step.items() if name in folders]
    if not began:
        raise ConfigError("no step of this run has started yet, so there are no logs")
    return folders[max(began)[1]]


def _last_attempt(home: StepDir) -> int:
    attempts = home.attempts()
    if not attempts:
        raise ConfigError(f"{home.path} has no logs; the step has not started yet")
    return int(attempts[-1].name.partition("-")[2])
