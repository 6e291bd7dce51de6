"""C5: one run that is stopped in every cell of ranks and workers and goes on in another, three times over.

The walks and what they are compared with are those of `tests/data/matrix.py`: real loaders with real workers,
ranks one after the other. The data is 1,000 rows of the corpus in packs of 4,096 tokens, three epochs.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from onerec.config import DataOrder
from tests.benchmarks import materials
from tests.benchmarks.environment import Bench
from tests.benchmarks.harness import Figure, Line, Lines, Void, at_least, at_most, benchmark
from tests.benchmarks.orders import data_order
from tests.data.matrix import (
    CELLS,
    NUM_WORKERS,
    WORLD_SIZES,
    Cell,
    Outcome,
    Piece,
    chains,
    planned_steps,
    run_chain,
    told,
)

TITLE = "stop and resume, world x workers"


@benchmark("C5", TITLE, needs_peers=False)
def matrix(bench: Bench) -> Lines:
    """Packs lost and repeated over all stops, and how many cells are exact on both sides of all of theirs."""
    outcomes = _outcomes(bench, _data(bench))
    exact = sum(all(map(_is_exact, _of(cell, outcomes))) for cell in CELLS)
    note = f"{len(outcomes)} stops; lost/repeated/identical as stopped or resumed cell:\n{_drawn(outcomes)}"
    yield Line(
        f"{TITLE}: exact cells",
        Figure("ours", (float(exact),), "cells"),
        goal=at_least(len(CELLS), "cells"),
        note=note,
    )
    for what in ("lost", "repeated"):
        packs = float(sum(getattr(one, what) for one in outcomes))
        yield Line(f"{TITLE}: {what}", Figure("ours", (packs,), "packs"), goal=at_most(0, "packs"))


def _data(bench: Bench) -> DataOrder:
    store = materials.prepared(bench, "matrix-store", materials.corpus(bench, rows=1000))
    smaller = {"max_length": 4096, "num_epochs": 3, "local_shuffle_buffer_size": 300}
    return data_order(store, num_workers=0).model_copy(update=smaller)


def _outcomes(bench: Bench, data: DataOrder) -> list[Outcome]:
    wanted, outcomes = planned_steps(data), []
    for number, cells in enumerate(chains(), start=1):
        bench.tell(f"walk {number} of {len(chains())} through {len(cells)} cells")
        pieces = _walked(data, cells)
        if [step for piece in pieces for step in piece.steps] != wanted:
            bench.tell("the whole run is not the planned one")
        outcomes += told(pieces, wanted)
    return outcomes


def _walked(data: DataOrder, cells: Sequence[Cell]) -> list[Piece]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*worker processes in total", category=UserWarning)
        try:
            return run_chain(data, cells)
        except AssertionError as fault:  # what `matrix` found between the ranks of one cell
            raise Void(str(fault)) from fault


def _of(cell: Cell, outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [one for one in outcomes if cell in (one.stopped, one.resumed)]


def _is_exact(outcome: Outcome) -> bool:
    return outcome.is_identical and not outcome.lost and not outcome.repeated


def _drawn(outcomes: Sequence[Outcome]) -> str:
    """Ranks downwards, workers across."""
    lines = ["ranks".rjust(7) + "".join(f"{workers} workers".rjust(14) for workers in NUM_WORKERS)]
    for world_size in WORLD_SIZES:
        cells = [_of(Cell(world_size, workers), outcomes) for workers in NUM_WORKERS]
        lines.append(f"{world_size}".rjust(7) + "".join(_in_words(stops).rjust(14) for stops in cells))
    return "\n".join(lines)


def _in_words(stops: Sequence[Outcome]) -> str:
    lost, repeated = sum(one.lost for one in stops), sum(one.repeated for one in stops)
    return f"{lost}/{repeated}/{'yes' if all(one.is_identical for one in stops) else 'NO'}"
