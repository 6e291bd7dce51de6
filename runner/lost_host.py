"""Run an ssh to a host that a run may lose: `python -m runner.lost_host -- ssh ARGS`.

An elastic run goes on with the other hosts, so that ssh itself fails (255) counts as a good end; every other
exit code is passed on. The ssh dies with this process.
"""

from __future__ import annotations

import os
import sys

from runner.process import die_with_parent

SSH_FAILED, PARENT_GONE = 255, 71


def main(arguments: list[str]) -> int:
    """Run the command to its end; returns its exit code, 128 + n when signal n ended it."""
    _, *argv = arguments
    parent = os.getpid()
    child = os.fork()
    if not child:
        die_with_parent()
        if os.getppid() != parent:
            os._exit(PARENT_GONE)
        os.execvp(argv[0], argv)  # noqa: S606 - an argument list, no shell
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == SSH_FAILED:
        return 0
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
