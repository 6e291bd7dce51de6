"""The verbs that look at a run: status, logs, doctor."""
# ruff: noqa: PLC0415 - heavy parts are imported by the verbs that need them, so that `status` answers at once

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from runner.cli.options import add_json, add_run_dir, add_stage, positive
from runner.cli.say import as_json, can_show, has_styles, is_terminal, own_screen, redraw, say, write
from runner.rundir import find_run

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from runner.rundir import RunDir
    from runner.status import RunStatus

UNHEALTHY = 1
WATCH_SECONDS = 2.0


def status_arguments(parser: ArgumentParser) -> None:
    """Options of `status`."""
    add_run_dir(parser)
    add_json(parser)
    text = "show it until the run has ended: redrawn on a terminal, elsewhere whenever something has changed"
    parser.add_argument("--watch", action="store_true", help=text)


def status(arguments: Namespace) -> int:
    """Show how far a run is, once or until it has ended."""
    from runner.observe import observe

    run = find_run(arguments.run)
    if arguments.watch:
        return _watch(run, as_json=arguments.as_json)
    found = observe(run)
    say(as_json(found) if arguments.as_json else _screen(found))
    return 0


def _screen(status: RunStatus) -> str:
    from runner.curves import BLOCKS, PLAIN_BLOCKS
    from runner.status_text import status_text

    blocks = BLOCKS if can_show(BLOCKS) else PLAIN_BLOCKS
    return status_text(status, now=time.time(), has_styles=has_styles(), blocks=blocks)


def _watch(run: RunDir, *, as_json: bool) -> int:
    """Show a run until it has ended; on a terminal on a screen of its own, that is given back at the end."""
    from runner.observe import is_waiting, observe

    live = is_terminal() and not as_json
    shown: object = None
    with own_screen() if live else nullcontext():
        while True:
            found = observe(run)
            if live:
                redraw(_screen(found))
            elif (news := _without_signs(found)) != shown:
                say(json.dumps(found, ensure_ascii=False) if as_json else _screen(found) + "\n")
                shown = news
            if found["state"] != "running" and not is_waiting(run):
                break
            time.sleep(WATCH_SECONDS)
    if live:
        say(_screen(found))
    return 0


def _without_signs(status: RunStatus) -> object:
    """The status without the times of the last sign of life, which alone are no news."""
    stages = [{**stage, "last_updated_time": None} for stage in status["stages"]]
    return {**status, "stages": stages, "last_updated_time": None}


def logs_arguments(parser: ArgumentParser) -> None:
    """Options of `logs`."""
    add_run_dir(parser)
    add_stage(parser)
    parser.add_argument("--rank", type=int, metavar="N", help="only this rank's own logs")
    parser.add_argument("--all-ranks", action="store_true", help="the own logs of all ranks")
    text = "of this attempt; default: the newest. Alone it means all its ranks"
    parser.add_argument("--attempt", type=positive, metavar="N", help=text)
    parser.add_argument("--errors", action="store_true", help="only what ranks wrote to stderr")
    text = "only lines in which this regular expression is found"
    parser.add_argument("--grep", metavar="RE", help=text)
    parser.add_argument(
        "--tail", type=positive, metavar="N", help="of each log only the last N lines of what is there"
    )
    text = "go on until the run has ended, also with steps, attempts and ranks that begin meanwhile"
    parser.add_argument("-f", "--follow", action="store_true", help=text)


def logs(arguments: Namespace) -> int:
    """Show what a stage wrote."""
    from runner.follow import Wanted, pattern_of, read_logs

    wanted = Wanted(
        stage=arguments.stage,
        rank=arguments.rank,
        attempt=arguments.attempt,
        all_ranks=arguments.all_ranks,
        errors=arguments.errors,
        pattern=None if arguments.grep is None else pattern_of(arguments.grep),
        tail=arguments.tail,
    )
    for line in read_logs(find_run(arguments.run), wanted, follow=arguments.follow):
        write(line)
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
