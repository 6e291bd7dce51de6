"""A stage goes on on other numbers of ranks and workers: the same batches, and the losses to rounding."""

import itertools
from pathlib import Path

import pytest

from onerec.checkpoint import commit
from onerec.checkpoint.state import load_state
from tests import tiny
from tests.checkpoint.attempts import Attempt, Kill, take
from tests.checkpoint.test_crashes import config, was_killed

BATCH = ("step", "tokens", "trained_tokens", "samples", "epoch", "learning_rate")
WALKS = {
    "1, 2, 3, 1 ranks": ((1, 0), (2, 0), (3, 0), (1, 0)),
    "3, 1, 2, 3 ranks, other workers": ((3, 2), (1, 0), (2, 1), (3, 0)),
}
"""(ranks, workers) of each attempt; each but the last is killed once its third step is saved."""
PACKS_PER_STEP = 3


@pytest.fixture(scope="module")
def lived(tiny_programme, tmp_path_factory):
    home = tmp_path_factory.mktemp("elastic")

    def stage(name, workers=0):
        return config(
            tiny_programme,
            home / name,
            data={"num_workers": workers, "num_epochs": 2},
            duration={"packs_per_step": PACKS_PER_STEP},
        )

    stories = {"whole": [Attempt(stage("whole"))]}
    for name, walk in WALKS.items():
        *before, last = walk
        stories[name] = [
            *(
                Attempt(stage(name, workers), ranks=ranks, kill=Kill("before prune", 3 * number))
                for number, (ranks, workers) in enumerate(before, start=1)
            ),
            Attempt(stage(name, last[1]), ranks=last[0]),
        ]
    return stories, take(stories, home)


@pytest.mark.parametrize("walk", WALKS)
def test_other_ranks_and_workers_read_the_same_batches_and_lose_nothing(lived, walk):
    stories, codes = lived
    *killed, last = codes[walk]
    assert len(killed) == 3
    assert all(was_killed(code) for code in killed)
    assert set(last) == {0}
    stage, whole = stories[walk][0].config, stories["whole"][0].config
    rows, others = tiny.metrics(stage), tiny.metrics(whole)
    for row, other in zip(rows, others, strict=True):
        assert [row[key] for key in BATCH] == [other[key] for key in BATCH]
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-5)
    assert [row["world_size"] for row in rows[:9:3]] == [ranks for ranks, _ in WALKS[walk][:3]]


@pytest.mark.parametrize("walk", WALKS)
def test_a_checkpoint_tells_how_it_came_to_be(lived, walk):
    stories, _ = lived
    stage_dir = Path(stories[walk][0].config["output_dir"])
    newest = commit.step_dir(stage_dir, commit.complete_steps(stage_dir)[-1])
    state = load_state(newest)
    told = [(one.attempt, one.world_size, one.num_workers) for one in state.stretches]
    assert told == [(str(number), *walked) for number, walked in enumerate(WALKS[walk], start=1)]
    steps = [0, 3, 6, 9, state.step]
    assert [(one.first_step, one.last_step) for one in state.stretches] == list(itertools.pairwise(steps))
    packs = [PACKS_PER_STEP * step for step in steps[:-1]]
    assert [one.first_pack for one in state.stretches] == packs
    assert [one.end_pack for one in state.stretches[:-1]] == packs[1:]
