"""The command line: verbs to functions, faults to messages and exit codes.

Each verb is in the file that `arguments.py` names; heavy parts are imported by the verbs that need them.
"""

from __future__ import annotations

import os
import sys

from onerec.errors import OneRecError
from runner.cli.arguments import overview, parse
from runner.cli.say import as_json, complain, say, stop_printing

STORAGE, INTERRUPTED = 9, 130


def main() -> None:
    """Entry point: the process ends with one of the documented exit codes."""
    arguments = parse(sys.argv[1:])
    if arguments is None:
        say(overview())
        return
    if arguments.traceback:
        os.environ["RUNNER_TRACEBACK"] = "1"
    try:
        sys.exit(arguments.act(arguments))
    except OneRecError as fault:
        if arguments.traceback:
            raise
        if getattr(arguments, "as_json", False):
            say_faults(fault)
        complain(f"error: {fault}")
        sys.exit(fault.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # whoever read has seen enough, such as `head`
        stop_printing()
    except OSError as fault:
        if arguments.traceback:
            raise
        complain(f"error: {fault}; mend the disk or the path, then start again")
        sys.exit(STORAGE)


def say_faults(fault: OneRecError) -> None:
    """What is wrong with a manifest, for a program that asked for JSON."""
    faults = getattr(fault, "faults", None)  # of a ManifestError, which is not loaded for this
    if faults is not None:
        say(as_json({"faults": [one.document() for one in faults]}))
