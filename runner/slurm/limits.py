"""Times and GPUs as Slurm writes them, as numbers; and how long before its end a job is told of it. Pure."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.manifest.tables import Cluster

MOST_WARNING_SECONDS = 65535
"""What sbatch takes for --signal: 16 bits."""
CLOSING_SECONDS = 30
"""What is left, after a stage has had its grace to save, to end the processes and queue the job again."""
UNLIMITED = ("infinite", "unlimited")

_CLOCK = re.compile(r"(?:([0-9]+)-)?([0-9]+)(?::([0-9]+))?(?::([0-9]+))?")
_GPUS = re.compile(r"(?:[A-Za-z0-9_.-]+:)?([1-9][0-9]*)")


def warning_seconds(grace_seconds: float) -> int:
    """How long before its time limit a job is told to stop; Slurm may do so up to a minute earlier."""
    return math.ceil(grace_seconds) + CLOSING_SECONDS


def seconds_of(text: str) -> float | None:
    """A time of Slurm in seconds: "30" is minutes, "1:30:00", "2-12", "2-12:30:00"; None for no time."""
    if text.lower() in UNLIMITED:
        return math.inf
    found = _CLOCK.fullmatch(text)
    if found is None:
        return None
    days, *parts = (None if part is None else int(part) for part in found.groups())
    given = [part for part in parts if part is not None]
    if days is not None:  # days-hours[:minutes[:seconds]]
        hours, minutes, seconds = [*given, 0, 0][:3]
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if len(given) == 3:
        return (given[0] * 60 + given[1]) * 60 + given[2]
    return given[0] * 60 + (given[1] if len(given) == 2 else 0)


def gpu_count(given: int | str) -> int | None:
    """How many GPUs 8 or "a100:8" are; None for what is neither."""
    found = _GPUS.fullmatch(str(given))
    return int(found[1]) if found else None


def tasks_per_node(cluster: Cluster) -> int:
    """Processes of each host, as written or one per GPU asked for: a submitting host has no GPUs to count."""
    if cluster.nproc_per_node != "auto":
        return int(cluster.nproc_per_node)
    return gpu_count(cluster.slurm.gpus_per_node or 1) or 1
