"""The best checkpoint: kept, told in best.json, and the same whether or not a stage was killed on the way."""

import json
import signal
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onerec.build.rows import write_rows
from onerec.checkpoint import commit
from onerec.checkpoint.best import Best, read_best, record_best
from onerec.checkpoint.retention import Retention, prune
from onerec.checkpoint.state import load_state
from onerec.errors import StorageError
from tests import tiny
from tests.checkpoint.attempts import Attempt, Kill, take

FIRST = Best(step=3, ndcg=0.5, hit_rate=0.6, valid_id_rate=1.0, questions=8, k=10)
FIGURES = tuple(asdict(FIRST))
KILLED = -signal.SIGKILL
POINTS = ("before rename", "after rename")


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Every item that the tiny vocabulary can say, and the chats of the tiny programme as questions."""
    folder = tmp_path_factory.mktemp("asked")
    codes = np.stack(np.unravel_index(np.arange(512), (8, 8, 8)), axis=1)
    table = pa.table({"pid": [str(number) for number in range(512)], "sid": codes.tolist()})
    pq.write_table(table, folder / "items.parquet")
    write_rows((row for row in tiny.rows() if row.messages), folder / "validation")
    return folder


def stage(programme, asked, output_dir):
    """Asked after every second step; checkpoints are due after every third, and one stays beside the best."""
    return tiny.train_config(
        programme,
        output_dir,
        hit_rate_dir=str(asked / "validation"),
        item_map=str(asked / "items.parquet"),
        checkpoint={"save_checkpoint_per_step": 3, "keep_checkpoints": 1},
        validating={"hit_rate_per_step": 2, "hit_rate_beams": 40, "hit_rate_questions": 6},
        duration={"max_steps": 7},
    )


@pytest.fixture(scope="module")
def lived(tiny_programme, asked, tmp_path_factory):
    """A stage that is left alone, and stages killed while step 2, the first best, is saved."""
    home = tmp_path_factory.mktemp("best")
    stories = {"whole": [Attempt(stage(tiny_programme, asked, home / "whole"))]}
    for point in POINTS:
        one = stage(tiny_programme, asked, home / point)
        stories[point] = [Attempt(one, kill=Kill(point, 2)), Attempt(one)]
    return {name: Path(some[0].config["output_dir"]) for name, some in stories.items()}, take(stories, home)


def rows(stage_dir):
    """The figures of each hit rate."""
    told = map(json.loads, (stage_dir / "hit_rate.jsonl").read_text().splitlines())
    return [{key: row[key] for key in FIGURES} for row in told]


def test_the_best_step_is_kept_and_told_beside_the_newest(lived):
    whole = lived[0]["whole"]
    told, last = rows(whole), commit.complete_steps(whole)[-1]
    best = max(told, key=lambda row: (row["ndcg"], -row["step"]))
    assert read_best(whole) == load_state(commit.step_dir(whole, last)).best == Best(**best)
    assert commit.complete_steps(whole) == sorted({best["step"], last})
    assert commit.latest_name(whole) == f"step{last}"
    assert 2 in [row["step"] for row in told]


@pytest.mark.parametrize("point", POINTS)
def test_a_stage_killed_while_its_best_is_saved_ends_with_the_same_best(lived, point):
    folders, codes = lived
    assert codes[point] == [[KILLED], [0]]
    killed, whole = folders[point], folders["whole"]
    assert rows(killed) == rows(whole)
    assert (killed / "best.json").read_bytes() == (whole / "best.json").read_bytes()
    assert commit.complete_steps(killed) == commit.complete_steps(whole)


def test_the_best_checkpoint_is_never_pruned(tmp_path):
    for step in (1, 2, 3, 4):
        commit.step_dir(tmp_path, step).mkdir()
        (commit.step_dir(tmp_path, step) / commit.COMMIT_NAME).write_text("{}")
    record_best(tmp_path, replace(FIRST, step=2))
    assert prune(tmp_path, Retention(1)) == [1, 3]
    record_best(tmp_path, replace(FIRST, step=4))
    assert prune(tmp_path, Retention(1)) == [2]


@pytest.mark.parametrize(
    ("changes", "beaten"),
    [
        ({"ndcg": 0.6, "hit_rate": 0.1}, True),
        ({"ndcg": 0.5, "hit_rate": 0.9}, False),
        ({"ndcg": 0.4}, False),
        ({"ndcg": 0.1, "k": 5}, True),
        ({"ndcg": 0.1, "questions": 9}, True),
    ],
)
def test_the_best_is_beaten_by_a_higher_ndcg_and_by_figures_that_cannot_be_compared(changes, beaten):
    assert FIRST.is_beaten_by(replace(FIRST, step=9, **changes)) is beaten


def test_best_json_is_written_read_and_taken_away(tmp_path):
    assert read_best(tmp_path) is None
    record_best(tmp_path, FIRST)
    assert read_best(tmp_path) == FIRST
    record_best(tmp_path, None)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "best.json").write_text('{"step": ')
    with pytest.raises(StorageError, match="remove it; the stage writes it again"):
        read_best(tmp_path)
    record_best(tmp_path, FIRST)
    assert read_best(tmp_path) == FIRST
