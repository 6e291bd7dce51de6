"""How often the kernel killed processes of this process's memory group for want of memory.

Standard library only: the shim of each rank uses it.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_OOM_KILL = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def count_oom_kills(*, group: Path = Path("/proc/self/cgroup"), root: Path = ROOT) -> int | None:
    """Kills so far in this process's group and the ones above it up to the root; None where nothing tells.

    Version 2 tells in memory.events, version 1 in memory.oom_control.
    """
    try:
        lines = group.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            found = _nearest(root, path, "memory.events")
        elif "memory" in controllers.split(","):
            found = _nearest(root / "memory", path, "memory.oom_control")
        else:
            continue
        if found is not None:
            return found
    return None


def _nearest(root: Path, path: str, name: str) -> int | None:
    """What the file tells in the group of that path, or in the nearest one above it that has the file."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    for length in range(len(parts), -1, -1):
        try:
            text = root.joinpath(*parts[:length], name).read_text(encoding="utf-8")
        except OSError:
            continue
        found = _OOM_KILL.search(text)
        if found:
            return int(found[1])
    return None
