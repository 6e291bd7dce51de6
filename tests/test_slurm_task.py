"""Which processes of a Slurm job are tasks of a step, and which."""

import pytest

from onerec.slurm_task import Task, read_task

BATCH = {
    "SLURM_JOB_ID": "1",
    "SLURM_NODEID": "0",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NTASKS": "16",
    "SLURM_TASKS_PER_NODE": "8(x2)",
}
"""What a batch script finds, and all that it starts by itself."""
STEP = {
    **BATCH,
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_NODEID": "1",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
}


@pytest.mark.parametrize(
    ("env", "task"),
    [
        (STEP, Task(rank=3, size=5, local_rank=1, local_size=2)),
        ({**STEP, "SLURM_NODEID": "2", "SLURM_PROCID": "4", "SLURM_LOCALID": "0"}, Task(4, 5, 0, 1)),
        ({**BATCH, "SLURM_STEP_ID": "12"}, Task(0, 16, 0, 8)),
        ({}, None),
        (BATCH, None),
        ({**STEP, "SLURM_STEP_ID": str(0xFFFFFFFB)}, None),
        ({**STEP, "SLURM_STEP_ID": str(0xFFFFFFFA)}, None),
        ({**STEP, "SLURM_NODEID": "3"}, None),
        ({**STEP, "SLURM_STEP_TASKS_PER_NODE": "many"}, None),
    ],
    ids=[
        *("second host", "uneven hosts", "an older Slurm", "no Slurm", "batch script", "batch step"),
        *("interactive step", "no such host", "not understood"),
    ],
)
def test_only_what_srun_started_is_a_task(env, task):
    assert read_task(env) == task
