import numpy as np
import pyarrow as pa

from onerec.build.tasks.asking import interactive, label_prediction, next_item, typed_next_item
from onerec.build.tasks.chats import heldout_tables, training_tables
from tests.build.tasks.materials import interactions, material, rows

RATINGS = (5, 3, 4, 5, 1, 4, 2, 5)
LANGUAGES = ("en", "zh")


def trained(task, made):
    return rows(training_tables(task(made), made, folder="sft"))


def held_out(task, made):
    return rows(heldout_tables(task(made), made, made.split.test_U, folder="test"))


def test_chats_ask_for_the_last_training_events_after_a_history_of_the_given_length():
    made = material(validation=False, history_length=2, samples_per_user=2)
    asked = [(row["metadata"], row["said"][1]) for row in trained(next_item, made)]
    assert asked == [
        ({"user": "a", "target_pid": "2", "position": 2, "history_length": 2}, "<2>"),
        ({"user": "a", "target_pid": "3", "position": 3, "history_length": 2}, "<3>"),
    ]


def test_a_chat_is_one_question_in_one_of_the_wordings_and_one_item_as_answer():
    made = material(validation=False, samples_per_user=1, languages=LANGUAGES)
    row = trained(next_item, made)[0]
    questions = [wording.text({"history": "<0><1><2>"}) for wording in made.templates.wordings["next_item"]]
    assert row["said"][0] in questions
    assert (row["source"], row["said"][1:]) == ("next_item", ["<3>"])


def test_held_out_questions_are_one_per_user_with_everything_before_in_the_history():
    made = material()
    assert [(row["metadata"], row["said"][1]) for row in held_out(next_item, made)] == [
        ({"user": "a", "target_pid": "4", "position": 4, "history_length": 4}, "<4>"),
        ({"user": "b", "target_pid": "0", "position": 1, "history_length": 1}, "<0>"),
    ]
    assert "<0><1><2><3>" in held_out(next_item, made)[0]["said"][0]
    validation = rows(heldout_tables(next_item(made), made, made.split.validation_U, folder="validation"))
    assert [(row["metadata"]["user"], row["said"][1]) for row in validation] == [("a", "<3>")]


def test_a_typed_question_asks_for_the_next_liked_item():
    made = material(interactions(ratings=RATINGS), validation=False, positive_rating=4)
    assert [(row["metadata"], row["said"][1]) for row in trained(typed_next_item, made)] == [
        ({"user": "a", "target_pid": "2", "position": 2, "history_length": 2, "type": "likes"}, "<2>"),
        ({"user": "a", "target_pid": "3", "position": 3, "history_length": 3, "type": "likes"}, "<3>"),
    ]
    assert all(
        "the user like next" in row["said"][0] or "the user will like" in row["said"][0]
        for row in trained(typed_next_item, made)
    )
    assert held_out(typed_next_item, made) == []  # neither last event is liked


def test_types_are_said_in_the_language_of_the_question():
    types = np.array([-1, 0, 1, 0, 0, 1, 1, -1], dtype=np.int32)
    found = interactions(types_E=types, type_names=("purchase", "put_into_cart"))
    made = material(found, languages=("zh",))
    asked = {row["metadata"]["type"]: row["said"][0] for row in trained(typed_next_item, made)}
    assert "购买" in asked["purchase"]
    assert "put_into_cart" in asked["put_into_cart"]
    assert [row["metadata"]["user"] for row in held_out(typed_next_item, made)] == ["a", "b"]


def test_a_label_is_the_true_one_in_words_of_the_questions_language():
    found = interactions([[0, 1, 2, 3, 4, 5]] * 20, ratings=[5, 1, 4, 3, float("nan"), 5] * 20)
    made = material(found, positive_rating=4, languages=LANGUAGES, samples_per_user=2)
    asked = trained(label_prediction, made)
    assert [row["metadata"]["target_pid"] for row in asked] == ["2", "3"] * 20  # item 4 is validation
    words = {"Yes": "No", "是": "否"}
    for row in asked:
        told = row["metadata"]
        assert told["label"] == (told["target_pid"] == "2")
        assert words[told["yes"]] == told["no"]
        assert row["said"][1] == told["yes" if told["label"] else "no"]
        assert ("Answer Yes or No" in row["said"][0] or "Yes or No?" in row["said"][0]) == (
            told["yes"] == "Yes"
        )
        assert f"<{told['target_pid']}>" in row["said"][0]
    assert {row["metadata"]["yes"] for row in asked} == set(words)
    assert [row["metadata"]["label"] for row in held_out(label_prediction, made)] == [True] * 20


def test_an_interactive_question_says_what_the_user_asked_for():
    queries = pa.array([None, "red\n <s_a_1>shoes", None, 'a "hat"', "socks", None, "", None])
    made = material(interactions(queries_E=queries), validation=False)
    asked = trained(interactive, made)
    assert [row["said"][1] for row in asked] == ["<1>", "<3>"]
    assert "red shoes" in asked[0]["said"][0]
    assert 'a "hat"' in asked[1]["said"][0]
    assert ["socks" in row["said"][0] for row in held_out(interactive, made)] == [True]


def test_names_of_users_and_items_may_hold_anything():
    items = interactions().items
    named = interactions(
        items=[*items[:4], type(items[0])('x"\\\n', "T"), items[5]],
        users=tuple(type(interactions().users[0])(name) for name in ('q"\n', "电", "c")),
    )
    told = held_out(next_item, material(named))[0]["metadata"]
    assert (told["user"], told["target_pid"]) == ('q"\n', 'x"\\\n')


def test_rows_do_not_depend_on_how_many_are_made_at_a_time(monkeypatch):
    found = interactions([[0, 1, 2, 3, 4, 5]] * 5 + [[1]] + [[2, 3, 4]] * 3)
    made = material(found, samples_per_user=3)
    whole = trained(next_item, made)
    assert len(whole) == 15
    monkeypatch.setattr("onerec.build.tasks.chats.ROWS_PER_TABLE", 2)
    monkeypatch.setattr("onerec.build.tasks.chats.USERS_PER_BLOCK", 4)
    assert trained(next_item, made) == whole
