"""What Slurm's environment tells a process about its place in a step; standard library only.

A batch script, and all that it starts by itself, has SLURM_PROCID=0 as well and is no task of a step.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_STEP_OF_SLURMS_OWN = 0xFFFFFFF0
"""Ids from here on are the batch script, an interactive shell and such; steps of srun count from 0."""


@dataclass(frozen=True)
class Task:
    """One of the processes that srun started."""

    rank: int
    size: int
    local_rank: int
    local_size: int


def read_task(env: Mapping[str, str]) -> Task | None:
    """The task that an environment is of; None outside of a step, and where a number is missing or none."""
    try:
        if int(env["SLURM_STEP_ID"]) >= FIRST_STEP_OF_SLURMS_OWN:
            return None
        size = int(env.get("SLURM_STEP_NUM_TASKS") or env["SLURM_NTASKS"])
        tasks = _tasks_by_node(env.get("SLURM_STEP_TASKS_PER_NODE") or env["SLURM_TASKS_PER_NODE"])
        local_size = tasks[int(env["SLURM_NODEID"])]
        return Task(int(env["SLURM_PROCID"]), size, int(env["SLURM_LOCALID"]), local_size)
    except (KeyError, ValueError, IndexError):
        return None


def _tasks_by_node(text: str) -> list[int]:
    """Tasks on each host: [8, 8, 4] for "8(x2),4"."""
    tasks = []
    for part in text.split(","):
        found = re.fullmatch(r"([0-9]+)(?:\(x([0-9]+)\))?", part)
        if found is None:
            raise ValueError(text)
        tasks += [int(found[1])] * int(found[2] or 1)
    return tasks
