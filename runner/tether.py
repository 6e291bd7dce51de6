"""Become a command that the kernel kills with its parent: `python -m runner.tether PARENT_PID -- ARGV`.

Between the runner and every launcher, because the setting survives exec but has to be made in the child.
"""

from __future__ import annotations

import os
import sys

from runner.process import die_with_parent

PARENT_GONE = 71


def main(arguments: list[str]) -> int:
    """Replace this process by the command; returns only when the parent is gone already."""
    parent, _, *argv = arguments
    die_with_parent()
    if os.getppid() != int(parent):
        return PARENT_GONE
    return os.execvp(argv[0], argv)  # noqa: S606 - an argument list, no shell


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
