import uuid

import pytest

from onerec.build import tasks, wording
from onerec.build.interactions import Item, User, split_last
from onerec.build.rows import Row
from onerec.build.tasks import Material, windows

ITEMS = tuple(
    Item(str(n), f"Film {n}", 1990 + n, ("Drama",) if n < 3 else ("Comedy", "War")) for n in range(6)
)
HISTORIES = ((0, 1, 2, 3, 4), (5, 0), (1,))


def material(**changes):
    given = {
        "items": ITEMS,
        "users": (User("a", 30, "M", "writer"), User("b"), User("c")),
        "split": split_last(HISTORIES),
        "spellings": tuple(f"<{n}>" for n in range(6)),
        "window_items": 350,
        "history_length": 2,
        "samples_per_user": 2,
        "seed": 3,
    }
    return Material(**(given | changes))


def of_source(rows, source):
    return [row for row in rows if row.source == source]


def test_chats_ask_for_the_last_training_items_after_a_history_of_the_given_length():
    asked = [
        (row.metadata, row.messages[1]["content"])
        for row in of_source(tasks.sft_rows(material()), "next_item")
    ]
    assert asked == [
        ({"user": "a", "target_pid": "2", "position": 2, "history_length": 2}, "<2>"),
        ({"user": "a", "target_pid": "3", "position": 3, "history_length": 2}, "<3>"),
    ]


def test_a_chat_is_one_question_in_one_of_the_wordings_and_one_item_as_answer():
    row = of_source(tasks.sft_rows(material(samples_per_user=1)), "next_item")[0]
    questions = [frame.format(history="<1><2>") for frame in wording.NEXT_ITEM]
    assert [message["role"] for message in row.messages] == ["user", "assistant"]
    assert row.messages[0]["content"] in questions
    assert row.segments is None


def test_the_test_set_asks_every_user_with_a_held_out_item_once():
    rows = list(tasks.heldout_rows(material(history_length=50)))
    assert [
        (row.metadata["user"], row.metadata["target_pid"], row.messages[1]["content"]) for row in rows
    ] == [
        ("a", "4", "<4>"),
        ("b", "0", "<0>"),
    ]
    assert "<0><1><2><3>" in rows[0].messages[0]["content"]


def test_every_item_is_described_both_ways_and_in_chat():
    texts = of_source(tasks.pretrain_rows(material()), "item_text")
    assert [(row.metadata["direction"], row.metadata["pid"]) for row in texts] == [
        *(("to_text", str(n)) for n in range(6)),
        *(("to_id", str(n)) for n in range(6)),
    ]
    for row in texts:
        assert f"<{row.metadata['pid']}>" in row.segments[0]
        assert f"Film {row.metadata['pid']} (" in row.segments[0]
    described = of_source(tasks.sft_rows(material()), "item_description")
    assert described[4].messages[1]["content"] == "Film 4 (1994). Genres: Comedy, War."


def test_a_profile_is_made_of_the_training_history():
    profiles = of_source(tasks.pretrain_rows(material()), "user_profile")
    assert profiles[0].segments == (
        "A viewer: 30-year-old man (occupation: writer). Favourite genres: Drama, Comedy, War. "
        "Films seen lately: <1> Film 1 (1991); <2> Film 2 (1992); <3> Film 3 (1993).",
    )


def test_long_histories_become_windows_that_lose_no_item():
    histories = (tuple(range(6)) * 200, (0, 1), (1,))
    rows = of_source(tasks.pretrain_rows(material(split=split_last(histories))), "history")
    mine = [row for row in rows if row.metadata["user"] == "a"]
    seen = "".join(row.segments[0][row.segments[0].index("<") :] for row in mine)
    assert [row.metadata["window"] for row in mine] == [0, 1, 2, 3]
    assert seen == "".join(f"<{n}>" for n in histories[0][:-1])
    assert max(row.segments[0].count("<") for row in mine) <= material().window_items


@pytest.mark.parametrize(
    ("length", "most", "sizes"), [(0, 3, []), (3, 3, [3]), (4, 3, [2, 2]), (10, 4, [3, 3, 4])]
)
def test_windows_are_consecutive_and_nearly_equal(length, most, sizes):
    history = tuple(range(length))
    found = list(windows(history, most=most))
    assert sum(found, ()) == history
    assert [len(window) for window in found] == sizes


def test_every_row_has_a_valid_uuid_of_its_own():
    rows: list[Row] = [
        row
        for rows_of in (tasks.pretrain_rows, tasks.sft_rows, tasks.heldout_rows)
        for row in rows_of(material())
    ]
    assert len({str(uuid.UUID(row.uuid)) for row in rows}) == len(rows)


def test_a_users_last_event_changes_no_training_row():
    other = split_last(((0, 1, 2, 3, 5), (5, 4), (1,)))
    for rows_of in (tasks.pretrain_rows, tasks.sft_rows):
        assert list(rows_of(material())) == list(rows_of(material(split=other)))
    assert list(tasks.heldout_rows(material())) != list(tasks.heldout_rows(material(split=other)))
