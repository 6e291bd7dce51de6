"""The commands of an attempt as a shell script (command.sh) that a person can read and run by hand."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from runner.launch.environment import SCRUBBED, SCRUBBED_PREFIXES

if TYPE_CHECKING:
    from pathlib import Path

    from runner.launch.values import Command, Toolchain


def script(commands: tuple[Command, ...], *, title: str, tools: Toolchain, removed: tuple[Path, ...]) -> str:
    """The commands as a shell script that a person can read and run: it does what the runner did.

    `removed` are files that an earlier attempt may have left and that would be taken for this one's.
    """
    env = {name: value for command in commands for name, value in command.env.items()}
    lines = [
        "#!/usr/bin/env bash",
        f"# {title}. Run it by hand to do the same again.",
        "set -euo pipefail",
        f"cd {shlex.quote(tools.work_dir)}",
        *(f"unset ${{!{prefix}@}}" for prefix in SCRUBBED_PREFIXES),
        f"unset {' '.join(sorted(SCRUBBED))}",
        *(f"export {name}={shlex.quote(value)}" for name, value in sorted(env.items())),
        f"rm -f {shlex.join(map(str, removed))}",
    ]
    if len(commands) == 1:
        return "\n".join([*lines, f"exec {_readable(commands[0])}", ""])
    # with the first that fails, and with Ctrl-C, which jobs in the background do not get, all of them end
    ends = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"
    waits = 'for job in $(jobs -p); do wait "$job"; done'
    return "\n".join([*lines, ends, *(f"{_readable(command)} &" for command in commands), waits, ""])


def _readable(command: Command) -> str:
    """A command over several lines: a new one before each option."""
    lines: list[list[str]] = [[]]
    for word in command.argv:
        if word.startswith("-") and word != "--" and lines[-1]:
            lines.append([])
        lines[-1].append(shlex.quote(word))
    return " \\\n    ".join(" ".join(line) for line in lines)
