"""Rank and world from the environment of each launcher."""

import pytest

from onerec.distributed import World, read_world
from onerec.errors import ConfigError

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
OPENMPI = {
    "OMPI_COMM_WORLD_RANK": "5",
    "OMPI_COMM_WORLD_SIZE": "6",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "3",
}
SLURM = {
    "SLURM_STEP_ID": "0",
    "SLURM_NODEID": "1",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_NTASKS": "4",
    "SLURM_TASKS_PER_NODE": "2(x2)",
}
BATCH = {name: value for name, value in SLURM.items() if name != "SLURM_STEP_ID"}


@pytest.mark.parametrize(
    ("env", "world"),
    [
        ({}, World(0, 1, 0, 1, "single")),
        (TORCHRUN, World(3, 4, 1, 2, "torchrun")),
        (OPENMPI, World(5, 6, 1, 3, "openmpi")),
        ({**OPENMPI, **TORCHRUN}, World(3, 4, 1, 2, "torchrun")),
        (SLURM, World(2, 4, 0, 2, "slurm")),
        (BATCH, World(0, 1, 0, 1, "single")),
        ({**SLURM, **OPENMPI}, World(5, 6, 1, 3, "openmpi")),
        ({**SLURM, **TORCHRUN}, World(3, 4, 1, 2, "torchrun")),
    ],
    ids=[
        *("nothing", "torchrun", "mpirun", "torchrun inside an MPI allocation", "srun", "a batch script"),
        *("mpirun in a job of Slurm", "torchrun in a job of Slurm"),
    ],
)
def test_world(env, world):
    assert read_world(env) == world


@pytest.mark.parametrize("wrong", [{"RANK": "4"}, {"LOCAL_RANK": "2"}, {"RANK": "-1"}])
def test_impossible_ranks_are_refused(wrong):
    with pytest.raises(ConfigError, match="impossible ranks"):
        read_world({**TORCHRUN, **wrong})
