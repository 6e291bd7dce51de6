"""Rank and world of this process, read once from torchrun, Open MPI, Slurm or nothing; their process group.

The environment becomes a `World` value that travels; nobody else reads it.
"""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from onerec.errors import ConfigError, OneRecError, StorageError
from onerec.network import interface_towards, interfaces
from onerec.progress import write_json_atomically
from onerec.slurm_task import read_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

RENDEZVOUS_TIMEOUT_SECONDS = 300.0
COLLECTIVE_TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class World:
    """Where this process stands: `rank` of `size` ranks, `local_rank` of `local_size` on this host."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    launcher: str
    """Which launcher told it: torchrun, openmpi, slurm or single."""

    @property
    def is_main(self) -> bool:
        """Whether this rank speaks for all: writes files that exist once, and prints."""
        return self.rank == 0


def read_world(env: Mapping[str, str]) -> World:
    """Rank and sizes from an environment; torchrun and Open MPI go before Slurm, in whose job they may run.

    Raises ConfigError where the numbers contradict each other.
    """
    for launcher, prefix in (("torchrun", ""), ("openmpi", "OMPI_COMM_WORLD_")):
        size = env.get(f"{prefix}{'WORLD_SIZE' if not prefix else 'SIZE'}")
        rank = env.get(f"{prefix}RANK")
        if rank is not None and size is not None:
            local_size = env.get(f"{prefix}{'LOCAL_WORLD_SIZE' if not prefix else 'LOCAL_SIZE'}", "1")
            world = World(
                int(rank), int(size), int(env.get(f"{prefix}LOCAL_RANK", "0")), int(local_size), launcher
            )
            if not (0 <= world.rank < world.size and 0 <= world.local_rank < world.local_size):
                raise ConfigError(
                    f"{launcher} told impossible ranks: {world}; start the stage through its command.sh"
                )
            return world
    task = read_task(env)
    if task is not None:
        return World(task.rank, task.size, task.local_rank, task.local_size, "slurm")
    return World(0, 1, 0, 1, "single")


def choose_device(world: World) -> torch.device:
    """The GPU of this rank, or the CPU where there is none; raises ConfigError for more ranks than GPUs."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    visible = torch.cuda.device_count()
    if world.local_size > visible:
        raise ConfigError(
            f"{world.local_size} ranks on a host with {visible} GPUs; lower nproc_per_node to {visible}"
        )
    return torch.device("cuda", world.local_rank)


@contextmanager
def process_group(
    world: World,
    *,
    device: torch.device,
    env: Mapping[str, str],
    timeout: timedelta = COLLECTIVE_TIMEOUT,
) -> Iterator[None]:
    """Join the group of all ranks (gloo for CPU, NCCL for CUDA tensors); leave it after a last barrier.

    Neither is done when an error passes through: both wait for the other ranks, which may never come.
    `timeout` is how long a collective waits for a rank that lives and does not come.
    """
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    network = _network_env(env)
    os.environ.update(network)  # gloo and NCCL look for it there
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world.launcher == "torchrun":
        dist.init_process_group(backend, timeout=timeout)
    else:
        store = dist.HashStore() if world.size == 1 else _shared_store(world, {**env, **network})
        dist.init_process_group(backend, store=store, rank=world.rank, world_size=world.size, timeout=timeout)
    yield
    # without a last barrier a rank that ends early can take the store down under the others
    agree([0])
    dist.destroy_process_group()


def agree(values: Sequence[int]) -> list[int]:
    """Sum whole numbers over all ranks, on the CPU; every rank gets the same sums and no GPU waits."""
    sums = torch.tensor(values, dtype=torch.int64)
    dist.all_reduce(sums)
    return [int(total) for total in sums.tolist()]


def broadcast_json(document: object, *, group: dist.ProcessGroup | None = None) -> object:
    """Rank 0's JSON document on every rank of a group, which is of all ranks."""
    payload = torch.tensor(list(json.dumps(document).encode()), dtype=torch.uint8)
    length = torch.tensor([payload.numel()])
    dist.broadcast(length, src=0, group=group)
    if dist.get_rank() != 0:
        payload = torch.empty(int(length.item()), dtype=torch.uint8)
    dist.broadcast(payload, src=0, group=group)
    return json.loads(bytes(payload.tolist()))


def on_main(action: Callable[[], Any], *, is_main: bool, group: dist.ProcessGroup | None = None) -> Any:
    """What `action` returns on rank 0 (a JSON value), on every rank; all ranks call it together.

    An OneRecError or OSError of rank 0 is raised on every rank, the latter as StorageError. `group` is
    another group of all ranks, for threads whose collectives must not mix with the training's.
    """
    answer: dict[str, Any] = {}
    if is_main:
        try:
            answer = {"value": action()}
        except (OneRecError, OSError) as fault:
            answer = fault_document(fault)
    told: Any = broadcast_json(answer, group=group)
    raise_told(told)
    return told["value"]


def gather_json(document: object, *, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Every rank's JSON document in the order of ranks, on every rank; all ranks call it together."""
    payload = torch.tensor(list(json.dumps(document).encode()), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([payload.numel()]), group=group)
    longest = max(int(size) for size in sizes)
    payload = torch.nn.functional.pad(payload, (0, longest - payload.numel()))
    parts = [torch.empty(longest, dtype=torch.uint8) for _ in sizes]
    dist.all_gather(parts, payload, group=group)
    return [json.loads(bytes(part[: int(size)].tolist())) for part, size in zip(parts, sizes, strict=True)]


def fault_document(fault: OneRecError | OSError) -> dict[str, Any]:
    """A fault as a JSON document that another rank can raise; an OSError becomes a StorageError."""
    if isinstance(fault, OneRecError):
        return {"fault": str(fault), "kind": type(fault).__name__}
    return {"fault": f"{fault}; free space or mend the disk, then run again", "kind": StorageError.__name__}


def raise_told(document: Mapping[str, Any]) -> None:
    """Raise the fault of a fault_document; do nothing for any other document."""
    if "fault" in document:
        kinds = {kind.__name__: kind for kind in OneRecError.__subclasses__()}
        raise kinds.get(document["kind"], OneRecError)(document["fault"])


def _network_env(env: Mapping[str, str]) -> dict[str, str]:
    """The interface for gloo and NCCL where the runner named other hosts and nobody an interface."""
    peers = [name for name in env.get("RUNNER_PEERS", "").split(",") if name]
    found = interface_towards(peers)
    if found is None:
        return {}
    wanted = {"GLOO_SOCKET_IFNAME": found.name, "NCCL_SOCKET_IFNAME": f"={found.name}"}  # "=": exactly it
    return {name: value for name, value in wanted.items() if name not in env}


def _shared_store(world: World, env: Mapping[str, str]) -> dist.TCPStore:
    """A store on a port the kernel chose, told to the other ranks through a file that all of them see."""
    if "RUNNER_RENDEZVOUS" not in env:
        raise ConfigError(
            "several ranks without torchrun need RUNNER_RENDEZVOUS; start the stage by its command.sh"
        )
    path = Path(env["RUNNER_RENDEZVOUS"])
    if world.is_main:
        store = _tcp_store("0.0.0.0", 0, world, serves=True)  # noqa: S104 - other hosts connect to it
        host = (
            _address_for_others(env.get("GLOO_SOCKET_IFNAME"))
            if world.size > world.local_size
            else "127.0.0.1"
        )
        write_json_atomically(path, {"host": host, "port": store.port, "nonce": env.get("RUNNER_NONCE", "")})
        return store
    address = _wait_for_address(path, nonce=env.get("RUNNER_NONCE", ""))
    return _tcp_store(str(address["host"]), int(str(address["port"])), world, serves=False)


def _tcp_store(host: str, port: int, world: World, *, serves: bool) -> dist.TCPStore:
    timeout = timedelta(seconds=RENDEZVOUS_TIMEOUT_SECONDS)
    return dist.TCPStore(host, port, world.size, is_master=serves, timeout=timeout, wait_for_workers=False)


def _wait_for_address(path: Path, *, nonce: str) -> dict[str, object]:
    deadline = time.monotonic() + RENDEZVOUS_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if path.exists():
            address: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
            if address["nonce"] == nonce:
                return address
        time.sleep(0.05)
    raise ConfigError(
        f"rank 0 did not write {path} within {RENDEZVOUS_TIMEOUT_SECONDS:.0f} s; "
        "is the run directory shared by all hosts?"
    )


def _address_for_others(interface: str | None) -> str:
    """An address of this host for other hosts: the interface's, else what the host name resolves to."""
    if interface:
        found = [known.address for known in interfaces() if known.name == interface.lstrip("=")]
        if not found:
            raise ConfigError(f"interface {interface!r} has no address here; correct network_interface")
        return found[0]
    return socket.gethostbyname(socket.gethostname())


def environment() -> Mapping[str, str]:
    """The process environment; the one place of the trainer that reads it."""
    return os.environ
