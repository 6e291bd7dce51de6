"""The verbs that look at a run: status, logs, doctor."""
# ruff: noqa: PLC0415 - heavy parts are imported by the verbs that need them, so that `status` answers at once

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from runner.cli.options import add_json, add_run_dir, add_stage
from runner.cli.say import as_json, is_terminal, say, write
from runner.rundir import find_run

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

UNHEALTHY = 1
WATCH_SECONDS = 2.0


def status_arguments(parser: ArgumentParser) -> None:
    """Options of `status`."""
    add_run_dir(parser)
    add_json(parser)
    parser.add_argument("--watch", action="store_true", help="show it again until the run has ended")


def status(arguments: Namespace) -> int:
    """Show how far a run is, once or until it has ended."""
    from runner.observe import observe
    from runner.report import status_text

    run = find_run(arguments.run)
    while True:
        status = observe(run)
        clear = "\x1b[H\x1b[2J" if arguments.watch and is_terminal() else ""
        say(clear + (as_json(status) if arguments.as_json else status_text(status)))
        if not arguments.watch or status["state"] != "running":
            return 0
        time.sleep(WATCH_SECONDS)


def logs_arguments(parser: ArgumentParser) -> None:
    """Options of `logs`."""
    add_run_dir(parser)
    add_stage(parser)
    parser.add_argument("--rank", type=int, help="one rank's own logs, of its newest attempt")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run has ended")


def logs(arguments: Namespace) -> int:
    """Show what a stage wrote."""
    from runner.follow import logs_of, read_logs

    run = find_run(arguments.run)
    paths = logs_of(run, stage=arguments.stage, rank=arguments.rank)
    for text in read_logs(paths, run=run, follow=arguments.follow):
        write(text)
    return 0


def doctor_arguments(parser: ArgumentParser) -> None:
    """Options of `doctor`."""
    add_run_dir(parser)
    add_json(parser)
    parser.add_argument(
        "--fast", action="store_true", help="compare sizes of checkpoints instead of reading them whole"
    )


def doctor(arguments: Namespace) -> int:
    """Check a run directory from outside."""
    from runner.doctor import examine
    from runner.doctor.report import diagnosis_text

    diagnosis = examine(find_run(arguments.run, may_lack_journal=True), fast=arguments.fast)
    say(as_json(diagnosis.document()) if arguments.as_json else diagnosis_text(diagnosis))
    return 0 if diagnosis.healthy else UNHEALTHY
