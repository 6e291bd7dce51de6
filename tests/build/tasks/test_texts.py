import pytest

from onerec.build.interactions import Item
from onerec.build.tasks.texts import history_tables, item_text_tables, profile_tables
from tests.build.tasks.materials import ITEMS, interactions, material, rows


def seen(row):
    """Items of a row, in their order."""
    return [int(part.split(">")[0]) for part in row["said"][0].split("<")[1:]]


def test_every_user_has_the_whole_training_history_once():
    made = rows(history_tables(material()))
    assert [(row["metadata"], seen(row)) for row in made] == [
        ({"user": "a", "window": 0, "copy": 0}, [0, 1, 2]),
        ({"user": "b", "window": 0, "copy": 0}, [5]),
        ({"user": "c", "window": 0, "copy": 0}, [1]),
    ]


@pytest.mark.parametrize(
    ("length", "most", "sizes"), [(3, 3, [3]), (4, 3, [2, 2]), (10, 4, [3, 3, 4]), (1200, 350, [300] * 4)]
)
def test_long_histories_become_nearly_equal_windows_that_lose_no_item(length, most, sizes):
    history = [number % 6 for number in range(length)]
    made = rows(history_tables(material(interactions([[*history, 1, 2]]), window_items=most)))
    assert [row["metadata"]["window"] for row in made] == list(range(len(sizes)))
    assert [len(seen(row)) for row in made] == sizes
    assert [item for row in made for item in seen(row)] == history


def test_copies_leave_out_events_by_chance_and_keep_the_order():
    history = list(range(6)) * 100
    found = interactions([[*history, 1, 2]] * 3)
    whole = rows(history_tables(material(found, window_items=1000)))
    made = rows(history_tables(material(found, window_items=1000, history_copies=3, history_keep=0.7)))
    assert made[:3] == whole
    copies = made[3:]
    assert [(row["metadata"]["user"], row["metadata"]["copy"]) for row in copies] == [
        (user, copy) for copy in (1, 2) for user in "abc"
    ]
    for row in copies:
        assert abs(len(seen(row)) - 420) < 60
        events = iter(history)
        assert all(item in events for item in seen(row))
    assert len({tuple(seen(row)) for row in copies}) == 6


def test_copies_of_long_histories_are_cut_at_borders_of_their_own():
    history = [number % 6 for number in range(500)]
    found = interactions([[*history, 1, 2]])
    made = rows(history_tables(material(found, window_items=40, history_copies=30, history_keep=1.0)))
    firsts = set()
    for copy in range(1, 30):
        own = [row for row in made if row["metadata"]["copy"] == copy]
        assert [row["metadata"]["window"] for row in own] == list(range(len(own)))
        assert [item for row in own for item in seen(row)] == history
        sizes = [len(seen(row)) for row in own]
        assert set(sizes[1:-1]) == {40}
        assert 1 <= sizes[0] <= 40
        assert 1 <= sizes[-1] <= 40
        firsts.add(sizes[0])
    assert len(firsts) > 15


def test_copies_of_many_users_hold_each_kept_event_in_its_own_users_window():
    found = interactions([[user % 6] * (30 + user) + [1, 2] for user in range(40)])
    made = rows(history_tables(material(found, window_items=9, history_copies=3, history_keep=0.6)))
    for row in made:
        user = next(n for n, known in enumerate(found.users) if known.uid == row["metadata"]["user"])
        assert set(seen(row)) == {user % 6}
        assert 1 <= len(seen(row)) <= 9


def test_a_copy_of_which_nothing_stays_is_no_row():
    found = interactions([[0, 1, 2]] * 50)
    made = rows(history_tables(material(found, history_copies=2, history_keep=0.2)))
    assert 50 < len(made) < 80
    assert all(row["said"][0] for row in made)
    none = material(interactions([[0, 1, 2]]), history_copies=2, history_keep=1e-9)
    assert len(rows(history_tables(none))) == 1


def test_every_item_with_a_text_is_told_both_ways():
    items = (*ITEMS[:3], Item("3"), Item("4", text="Nameless."), ITEMS[5])
    made = rows(item_text_tables(material(interactions(items=items))))
    assert [(row["metadata"]["direction"], row["metadata"]["pid"]) for row in made] == [
        (direction, pid) for direction in ("to_text", "to_id") for pid in "01245"
    ]
    for row in made:
        pid = row["metadata"]["pid"]
        assert f"<{pid}>" in row["said"][0]
        assert ("Nameless." if pid == "4" else f"Film {pid}") in row["said"][0]


def test_a_profile_is_made_of_the_training_history():
    made = rows(profile_tables(material()))
    assert [(row["metadata"], row["said"]) for row in made][:2] == [
        (
            {"user": "a"},
            [
                "A user: person. Favourite categories: Drama. "
                "Recently met: <0> Film 0; <1> Film 1; <2> Film 2."
            ],
        ),
        ({"user": "b"}, ["A user: person. Favourite categories: Comedy, War. Recently met: <5> Film 5."]),
    ]


def test_rows_do_not_depend_on_how_many_are_made_at_a_time(monkeypatch):
    def made():
        used = material(interactions([[0, 1, 2, 3, 4, 5]] * 5), window_items=2, history_copies=2)
        return rows([*history_tables(used), *item_text_tables(used), *profile_tables(used)])

    whole = made()
    monkeypatch.setattr("onerec.build.tasks.texts.ROWS_PER_TABLE", 2)
    monkeypatch.setattr("onerec.build.tasks.texts.USERS_PER_BLOCK", 3)
    assert made() == whole
