"""What is asked belongs to the histories and the items, and everybody is asked."""

import shutil

import pytest

from onerec.build.rows import write_rows
from onerec.config import EvaluateConfig, Evaluation
from onerec.errors import DataError
from onerec.evaluate.histories import histories_of, write_histories
from onerec.evaluate.material import counts_of, read_material
from onerec.evaluate.questions import drawn
from tests.evaluate import built

TARGETED = [row for row in built.histories() if row[4] is not None]


@pytest.fixture
def folder(tmp_path):
    return built.make(tmp_path / "built")


def config(folder, **changes):
    split = changes.pop("split", "test")
    return EvaluateConfig(
        output_dir=str(folder),
        seed=3,
        models={"ours": "folder"},
        built_dir=str(folder),
        split=split,
        evaluation=Evaluation(**changes),
    )


def rewrite(folder, rows):
    shutil.rmtree(folder / "test")
    write_rows(iter(rows), folder / "test")


def questions(targeted=TARGETED):
    return [built.next_item(uid, items, at) for uid, items, _, _, at in targeted]


def test_every_user_is_asked_for_what_was_held_out(folder):
    material = read_material(config(folder))
    assert [
        (material.histories.uids[question.user], list(question.history), question.target)
        for question in material.questions
    ] == [(uid, items[:at], items[at]) for uid, items, _, _, at in TARGETED]
    assert [question.row.source for question in material.others] == ["typed_next_item"] * 6
    assert (len(material.labels), len(material.descriptions)) == (12, 3)


def test_other_tasks_are_asked_on_the_test_split_alone(folder):
    material = read_material(config(folder, split="validation"))
    assert [question.target for question in material.questions] == [row[1][row[3]] for row in TARGETED]
    assert (material.others, material.labels, material.descriptions) == ([], [], [])


def test_targets_of_the_users_own_past_are_counted(folder):
    rows = [(uid, [*items[:-1], items[0]], *places) for uid, items, *places in built.histories()]
    write_histories(histories_of(rows, num_items=built.NUM_ITEMS), folder / "histories.parquet")
    rewrite(folder, questions([row for row in rows if row[4] is not None]))
    material = read_material(config(folder))
    assert counts_of(config(folder), material)["targets_met_before"] == len(TARGETED)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (questions(TARGETED[:-2]), r"has 10 questions for 12 users .*, 2 of these .* \(u10, u11\)"),
        ([*questions(), built.next_item("u3", TARGETED[3][1], 0)], r"has 13 questions .* \(u3\)"),
        ([*questions(), built.next_item("u3", TARGETED[3][1], TARGETED[3][4])], "some are asked twice"),
        ([built.next_item("alone", [3, 4], 1)], "user 'alone' has no event that is held out"),
        ([built.next_item("nobody", [3, 4], 1)], "user 'nobody' has no event that is held out"),
        (
            [built.chat("x", "next_item", "q", "a", user="u3", target_pid="p77")],
            "no item 'p77' among the 40 items",
        ),
    ],
    ids=["users without", "another item", "twice", "nothing held out", "unknown user", "unknown item"],
)
def test_questions_of_another_build_are_refused(folder, rows, told):
    rewrite(folder, rows)
    with pytest.raises(DataError, match=told):
        read_material(config(folder))


def test_those_asked_are_drawn_by_the_seed_and_keep_their_order():
    assert drawn("abc", 3, seed=1) == drawn("abc", None, seed=1) == ["a", "b", "c"]
    some = drawn(range(100), 10, seed=1)
    assert (len(some), some) == (10, sorted(some))
    assert some == drawn(range(100), 10, seed=1) != drawn(range(100), 10, seed=2)
