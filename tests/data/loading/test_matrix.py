"""Stopped on any number of ranks and workers, a run goes on exactly on any other (GOALS C5)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from onerec.config import DataOrder, Dataset, Mixture, PrepareConfig, PreparedDataset, Vocab
from onerec.data.loading.batch import FILLER
from onerec.data.loading.load import Slots
from onerec.data.order.plan import open_plan
from onerec.data.order.selection import plan_training
from onerec.data.preparation.prepare import prepare
from onerec.data.store.pool import Pool
from tests import tiny
from tests.data.matrix import (
    CELLS,
    PACKS_PER_STEP,
    WORLD_SIZES,
    Cell,
    Outcome,
    agreed,
    chains,
    global_steps,
    planned_steps,
    read,
    run_chain,
    told,
)
from tests.data.rows import sample_rows, write_rows
from tests.data.tokens import CODES, LAYERS

REPOSITORY = Path(__file__).parents[3]
SMALL_CELLS = [Cell(world_size, num_workers) for world_size in (1, 2, 3) for num_workers in (2, 0)]


@pytest.fixture(scope="module")
def data(tmp_path_factory, tokenizer_dir) -> DataOrder:
    """Two datasets of two files, mixed, partly held out, shuffled in two levels, read twice."""
    folder = tmp_path_factory.mktemp("matrix")
    datasets = []
    for place, name in enumerate(("first", "second")):
        for part in range(2):
            rows = sample_rows(150, start=1000 * place + 150 * part)
            write_rows(folder / name / "data" / f"{part}.parquet", rows)
        prepare(
            PrepareConfig(
                output_dir=str(folder / name / "store"),
                tokenizer_dir=str(tokenizer_dir),
                sources=(str(folder / name / "data"),),
                dataset=Dataset(sources="data", max_length=96),
                vocab=Vocab(itemic_layer_n=LAYERS, vocab_size_per_layer=CODES),
            )
        )
        store_dir = str(folder / name / "store")
        datasets.append(PreparedDataset(name=name, store_dir=store_dir, validation_fraction=0.1))
    return DataOrder(
        datasets=tuple(datasets),
        mixture=Mixture(epochs={"chat": 1.5}),
        max_length=96,
        num_epochs=2,
        num_workers=0,
        local_shuffle_buffer_size=70,
        shuffle_memory_gigabytes=3e-5,
        shuffle_seed=7,
    )


@pytest.fixture(scope="module")
def wanted(data):
    return planned_steps(data)


def test_the_planned_run_holds_what_its_epochs_draw(data, wanted):
    planned = plan_training(Pool(data.datasets), data)
    assert planned.key.group_tokens is not None
    drawn = Counter()
    for path in planned.paths:
        drawn += Counter(
            planned.pool.sample(int(number)).uuid for number in np.array(open_plan(path).samples)
        )
    assert Counter(uuid for step in wanted for _, _, uuids in step for uuid in uuids) == drawn
    numbers = [number for step in wanted for number, *_ in step]
    assert numbers == list(range(len(numbers)))
    assert sum(1 for _ in wanted) > 2 * len(CELLS)


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param(chains()[0], id="7 cells on"),
        pytest.param(chains()[1], id="3 cells on", marks=pytest.mark.slow),
        pytest.param(chains()[2], id="9 cells on", marks=pytest.mark.slow),
    ],
)
def test_a_run_goes_on_exactly_through_every_cell(data, wanted, cells):
    assert sorted(map(str, cells)) == sorted(map(str, CELLS))
    check(data, wanted, cells)


def check(data, wanted, cells):
    pieces = run_chain(data, cells)
    assert [step for piece in pieces for step in piece.steps] == wanted
    faults = [one for one in told(pieces, wanted) if one.lost or one.repeated or not one.is_identical]
    assert faults == []


@pytest.mark.parametrize(
    ("change", "lost", "repeated"),
    [
        (lambda steps: steps[1:], PACKS_PER_STEP, 0),
        (lambda steps: [steps[0], *steps], 0, PACKS_PER_STEP),
        (lambda steps: steps[::-1], 0, 0),
    ],
    ids=["lost", "repeated", "reversed"],
)
def test_a_loss_a_repeat_and_another_order_are_told(data, wanted, change, lost, repeated):
    cells = [Cell(1, 0), Cell(2, 0)]
    before, after = run_chain(data, cells)
    changed = [before, replace(after, steps=change(after.steps))]
    assert told(changed, wanted) == [Outcome(*cells, 1, lost, repeated, is_identical=False)]


def simulated(cell, start, total, steps):
    """Numbers of the packs of each step: slots of every rank, dealt to its workers in turn and taken back."""
    ranks = []
    for rank in range(cell.world_size):
        slots = Slots(start, total, PACKS_PER_STEP, rank, cell.world_size)
        workers = max(cell.num_workers, 1)
        dealt = [iter(list(slots)[worker::workers]) for worker in range(workers)]
        taken = [next(dealt[place % workers]) for place in range(len(slots))]
        each = slots.packs_per_rank
        ranks.append(
            [[(number, "", ()) for number in taken[at : at + each]] for at in range(0, len(taken), each)]
        )
    return [[number for number, *_ in step] for step in global_steps(ranks)][:steps]


@pytest.mark.parametrize("total", [1, 4, 5, 43])
def test_every_cell_goes_on_from_every_cell_at_every_step(total):
    run = [
        list(range(first, min(first + PACKS_PER_STEP, total))) for first in range(0, total, PACKS_PER_STEP)
    ]
    pieces = {
        (cell, stop): (simulated(cell, 0, total, stop), simulated(cell, stop * PACKS_PER_STEP, total, None))
        for cell in CELLS
        for stop in range(len(run) + 1)
    }
    for stopped, resumed, stop in product(CELLS, CELLS, range(len(run) + 1)):
        assert pieces[stopped, stop][0] + pieces[resumed, stop][1] == run


@pytest.mark.parametrize("world_size", WORLD_SIZES)
def test_every_rank_has_as_many_steps_and_only_the_last_has_fillers(world_size):
    ranks = [list(Slots(0, 43, PACKS_PER_STEP, rank, world_size)) for rank in range(world_size)]
    each = -(-PACKS_PER_STEP // world_size)
    assert {len(rank) for rank in ranks} == {9 * each}
    assert sum(rank[:-each].count(FILLER) for rank in ranks) == 8 * (each * world_size - PACKS_PER_STEP)


def under_torchrun(data, cell, state, steps, folder):
    """As `read`, by real ranks of torchrun."""
    folder.mkdir()
    request = {"data": data.model_dump(mode="json"), "num_workers": cell.num_workers, "state": state}
    (folder / "request.json").write_text(json.dumps({**request, "steps": steps}))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(cell.world_size)]
    program = ["-m", "tests.data.reading_rank", str(folder / "request.json"), str(folder)]
    done = subprocess.run(
        [sys.executable, *launcher, *program],
        cwd=REPOSITORY,
        env=tiny.environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ranks = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(cell.world_size)]
    shares = [[[as_seen(pack) for pack in step] for step in rank["steps"]] for rank in ranks]
    return global_steps(shares), agreed([rank["state"] for rank in ranks])


def as_seen(pack):
    number, digest, uuids = pack
    return number, digest, tuple(uuids)


def check_under_torchrun(data, wanted, cells, folder):
    state, got = None, []
    for place, cell in enumerate(cells):
        steps = None if place == len(cells) - 1 else 3 + place
        more, state = under_torchrun(data, cell, state, steps, folder / str(place))
        got += more
    assert got == wanted
    assert read(data, Cell(1, 0), state, None) == ([], state)


def test_real_ranks_go_on_exactly_in_another_world(data, wanted, tmp_path):
    check_under_torchrun(data, wanted, [Cell(3, 2), Cell(2, 0)], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "cells", [SMALL_CELLS, [*SMALL_CELLS[3:], *SMALL_CELLS[:3]]], ids=["from 1", "from 2"]
)
def test_real_ranks_go_on_exactly_through_every_small_cell(data, wanted, tmp_path, cells):
    check_under_torchrun(data, wanted, cells, tmp_path)
