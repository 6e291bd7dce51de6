"""GOALS C5: one run that is stopped in every cell of ranks and workers, and goes on in another one.

`run_chain` reads a run as a chain of pieces, each in the next cell; `told` compares it with the plan that was
fixed before there were ranks. Both are for the tests and for the benchmark of that row.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise, product

from onerec.config import DataOrder
from onerec.data.loading.batch import FILLER, Pack, pack_of
from onerec.data.loading.load import PackLoader, PackReader
from onerec.data.order.plan import open_plan
from onerec.data.order.selection import plan_training
from onerec.data.store.pool import Pool

WORLD_SIZES = (1, 2, 3, 4, 8)
NUM_WORKERS = (0, 1, 2, 4)
PACKS_PER_STEP = 5
STEPS_OF_PIECES = (1, 3, 2)

Seen = tuple[int, str, tuple[str, ...]]
"""Number of a pack, a digest of all that is in it, and its uuids."""


@dataclass(frozen=True)
class Cell:
    """How many ranks read, each with how many workers."""

    world_size: int
    num_workers: int


@dataclass(frozen=True)
class Piece:
    """What a cell read of a run, from where the last one had stopped."""

    cell: Cell
    first_step: int
    steps: list[list[Seen]]
    """Packs of each step over all ranks, fillers left out."""


@dataclass(frozen=True)
class Outcome:
    """One cell as stop and one as resume, against the run as it was planned."""

    stopped: Cell
    resumed: Cell
    step: int
    lost: int
    repeated: int
    is_identical: bool
    """Whether the steps before and after the stop hold the packs that were planned, bit for bit, in order."""


CELLS = tuple(Cell(*numbers) for numbers in product(WORLD_SIZES, NUM_WORKERS))


def seen(pack: Pack) -> Seen:
    """A pack as values that compare."""
    tensors = (pack.input_ids_T, pack.labels_T, pack.position_ids_T, pack.cu_seqlens, pack.document_sources)
    content = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        content.update(tensor.numpy().tobytes())
    return pack.pack, content.hexdigest(), pack.uuids


def planned_steps(data: DataOrder) -> list[list[Seen]]:
    """The steps of the whole run, read from its plan without any loader."""
    planned = plan_training(Pool(data.datasets), data)
    reader = PackReader(data.datasets, planned.paths, pad_to=None)
    packs = [seen(pack_of(reader[number])) for number in range(sum(map(len, map(open_plan, planned.paths))))]
    return [packs[start : start + PACKS_PER_STEP] for start in range(0, len(packs), PACKS_PER_STEP)]


def read(data: DataOrder, cell: Cell, state: dict | None, steps: int | None) -> tuple[list[list[Seen]], dict]:
    """Steps that all ranks of a cell read from a state on, and the state after them.

    Ranks read one after the other, each with real workers. Fails where they disagree in steps or in state.
    """
    ranks = [read_rank(data, cell, rank, state, steps) for rank in range(cell.world_size)]
    return global_steps([shares for shares, _ in ranks]), agreed([state for _, state in ranks])


def read_rank(
    data: DataOrder, cell: Cell, rank: int, state: dict | None, steps: int | None
) -> tuple[list[list[Seen]], dict]:
    """The packs that one rank gets in each step, fillers included, and its state after them."""
    data = data.model_copy(update={"num_workers": cell.num_workers})
    loader = PackLoader(
        data, rank=rank, world_size=cell.world_size, packs_per_step=PACKS_PER_STEP, pad_to=None
    )
    if state is not None:
        loader.load_state_dict(json.loads(json.dumps(state)))
    running = iter(loader)
    shares = [[seen(pack) for pack in step.packs] for step in islice(running, steps)]
    state = loader.state_dict()
    running.close()
    return shares, state


def global_steps(ranks: Sequence[list[list[Seen]]]) -> list[list[Seen]]:
    """Packs of each step over all ranks in their global order; every rank has as many steps and packs."""
    assert len({len(shares) for shares in ranks}) == 1, "ranks have different numbers of steps"
    steps = []
    for shares in zip(*ranks, strict=True):
        packs = list(chain.from_iterable(zip(*shares, strict=True)))
        numbers = [number for number, *_ in packs]
        assert numbers == sorted(numbers, key=lambda number: (number == FILLER, number))
        steps.append([pack for pack in packs if pack[0] != FILLER])
    return steps


def agreed(states: Sequence[dict]) -> dict:
    """The state that all ranks have."""
    assert all(state == states[0] for state in states), "ranks have different states"
    return states[0]


def run_chain(data: DataOrder, cells: Sequence[Cell]) -> list[Piece]:
    """One run from start to end, a few steps in each cell; the last one reads to the end."""
    pieces, state, step = [], None, 0
    for place, cell in enumerate(cells):
        due = None if place == len(cells) - 1 else STEPS_OF_PIECES[place % len(STEPS_OF_PIECES)]
        steps, state = read(data, cell, state, due)
        pieces.append(Piece(cell, step, steps))
        step += due or 0
    return pieces


def told(pieces: Sequence[Piece], planned: Sequence[list[Seen]]) -> list[Outcome]:
    """What became of each stop of a chain: the steps read on both of its sides, against the planned ones."""
    outcomes = []
    ends = [*(piece.first_step for piece in pieces), len(planned)][2:]
    for (before, after), end in zip(pairwise(pieces), ends, strict=True):
        got, due = before.steps + after.steps, list(planned[before.first_step : end])
        read_numbers, due_numbers = Counter(_numbers(got)), Counter(_numbers(due))
        outcomes.append(
            Outcome(
                before.cell,
                after.cell,
                step=after.first_step,
                lost=sum((due_numbers - read_numbers).values()),
                repeated=sum((read_numbers - due_numbers).values()),
                is_identical=got == due,
            )
        )
    return outcomes


def _numbers(steps: Iterable[list[Seen]]) -> list[int]:
    return [number for step in steps for number, *_ in step]


def chains() -> list[tuple[Cell, ...]]:
    """Three walks through all cells: each is stopped and resumed at three places, beside other ones."""
    count = len(CELLS)
    return [tuple(CELLS[(start + stride * n) % count] for n in range(count)) for start, stride in STRIDES]


STRIDES = ((0, 7), (5, 3), (13, 9))
"""Strides that share no factor with the number of cells, so each walk visits all."""
