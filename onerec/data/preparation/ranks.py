"""The ranks that prepare a dataset together, one a host; alone, nothing is sent and nobody is waited for.

Every method is called by all ranks together.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch

from onerec.distributed import fault_document, gather_json, on_main, process_group, raise_told, read_world
from onerec.errors import OneRecError

LONGEST_WAIT = timedelta(hours=12)
"""How long ranks wait while rank 0 alone lists, indexes or packs; while files are tokenised all tell more."""


@dataclass(frozen=True)
class Ranks:
    """This process's place among them."""

    rank: int = 0
    size: int = 1

    def on_main(self, action: Callable[[], Any]) -> Any:
        """What `action` returns on rank 0 (a JSON value), on every rank; its OneRecError or OSError too."""
        if self.size > 1:
            return on_main(action, is_main=self.rank == 0)
        try:
            return action()
        except OSError as fault:
            raise_told(fault_document(fault))

    def told(self, document: Mapping[str, Any], fault: OneRecError | None) -> list[dict[str, Any]]:
        """Every rank's document; if any of them has a fault, the first of these is raised on every rank."""
        own = {**document, **(fault_document(fault) if fault else {})}
        documents = gather_json(own) if self.size > 1 else [own]
        for one in documents:
            raise_told(one)
        return documents


@contextmanager
def joined(env: Mapping[str, str]) -> Iterator[Ranks]:
    """The ranks that an environment tells of, joined into a group if there are several."""
    world = read_world(env)
    if world.size == 1:
        yield Ranks()
        return
    with process_group(world, device=torch.device("cpu"), env=env, timeout=LONGEST_WAIT):
        yield Ranks(world.rank, world.size)


def shares(sizes: Sequence[int], count: int) -> list[list[int]]:
    """Places of the sizes in `count` shares of about equal sums, largest first in each."""
    loads = [(0, number) for number in range(count)]
    parts: list[list[int]] = [[] for _ in range(count)]
    for place in sorted(range(len(sizes)), key=lambda place: (-sizes[place], place)):
        load, number = heapq.heappop(loads)
        parts[number].append(place)
        heapq.heappush(loads, (load + sizes[place] + 1, number))
    return parts
