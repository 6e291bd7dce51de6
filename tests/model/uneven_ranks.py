"""Three gloo ranks as on two hosts, one with two ranks and one with one; each writes down what it was told.

Forks share one import of torch, which is most of what starting a rank costs.
"""

import json
import multiprocessing
import os
import sys
from pathlib import Path

import torch

from onerec.distributed import environment, process_group, read_world
from onerec.errors import ConfigError
from onerec.model import memory
from onerec.model.memory import resolve_checkpointing
from onerec.model.shard import build_mesh
from tests.model.test_memory import shape

PLACES = ((0, 2), (1, 2), (0, 1))
"""Local rank and local size of each rank."""
FREE_BYTES = (10**12, 10**12, 10**6)


def main(folder: Path) -> None:
    """Fork the ranks and wait for them; ends with 1 when one failed."""
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=run_rank, args=(rank, folder)) for rank in range(len(PLACES))]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    sys.exit(int(any(rank.exitcode for rank in ranks)))


def run_rank(rank: int, folder: Path) -> None:
    """One rank, as Open MPI would start it."""
    local_rank, local_size = PLACES[rank]
    told = {"RANK": rank, "SIZE": len(PLACES), "LOCAL_RANK": local_rank, "LOCAL_SIZE": local_size}
    os.environ.update({f"OMPI_COMM_WORLD_{name}": str(value) for name, value in told.items()})
    os.environ["RUNNER_RENDEZVOUS"] = str(folder / "rendezvous.json")
    memory.MEMINFO = folder / f"meminfo-{rank}"
    memory.MEMINFO.write_text(f"MemAvailable: {FREE_BYTES[rank] // 1024} kB\n")
    memory.CGROUP = folder
    device = torch.device("cpu")
    world = read_world(environment())
    # the store listens on the address of the host name, which other hosts would ask
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    with process_group(world, device=device, env=environment()):
        found = resolve_checkpointing(shape(), device=device, local_size=world.local_size)
        sizes = {"world_size": world.size, "local_size": world.local_size}
        mesh = build_mesh(device, **sizes)
        try:
            hybrid = str(build_mesh(device, **sizes, sharding="hybrid"))
        except ConfigError as fault:
            hybrid = str(fault)
        answer = {
            "mode": found.mode,
            "available": found.available_bytes,
            "mesh": list(mesh.shape),
            "hybrid": hybrid,
        }
        (folder / f"{rank}.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
