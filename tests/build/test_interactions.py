"""The columnar form: how events are found by user, and the order of ids."""

import numpy as np

from onerec.build.interactions import Interactions, Item, User, natural_key

FOUND = Interactions(
    items=tuple(Item(pid) for pid in "abc"),
    users=(User("1"), User("2")),
    offsets_U1=np.array([0, 3, 4]),
    items_E=np.array([2, 0, 1, 1], dtype=np.int32),
    times_E=np.array([1, 2, 3, 1]),
)


def test_events_are_found_by_user():
    assert FOUND.num_events == 4
    assert [FOUND.history(user).tolist() for user in (0, 1)] == [[2, 0, 1], [1]]
    assert FOUND.users_of_events.tolist() == [0, 0, 0, 1]


def test_an_item_has_text_when_it_has_a_title_or_a_description():
    assert [item.has_text for item in (Item("a"), Item("a", "title"), Item("a", text="text"))] == [
        False,
        True,
        True,
    ]


def test_numbers_come_by_value_before_other_names():
    assert sorted(["b", "10", "9", "a1"], key=natural_key) == ["9", "10", "a1", "b"]
