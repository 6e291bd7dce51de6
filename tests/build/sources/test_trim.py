"""Who is left out for too few events, by hand and against the plain definition."""

import numpy as np
import pytest

from onerec.build.interactions import Item
from tests.build.sources.test_gather import gathered, histories, message, raw

ITEMS = tuple(Item(pid, f"film {pid}") for pid in "abcd")
CHAIN = [
    *[("1", "a", 1), ("1", "b", 2)],
    *[("2", "a", 1), ("2", "b", 2), ("2", "c", 3)],
    *[("3", "c", 1), ("3", "d", 2)],
]
"""Without d, 3 has one event; without 3, c has one: 1 and 2 with a and b are the core of two each."""


def test_a_core_is_what_remains_when_leaving_out_has_come_to_an_end():
    found = gathered(raw(CHAIN, ITEMS), min_user_events=2, min_item_events=2)
    assert histories(found) == {"1": ["a", "b"], "2": ["a", "b"]}
    assert [item.pid for item in found.items] == ["a", "b"]
    assert found.remarks == (
        "users with fewer than 2 events: 1 (user 3); left out (min_user_events)",
        "items with fewer than 2 events: 2 (item c; item d); left out (min_item_events)",
        "events left out with these users and items: 3",
    )


def test_a_core_is_the_largest_set_in_which_all_have_enough():
    rng = np.random.default_rng(5)
    events = [(str(u), "abcd"[i], 1) for u in range(12) for i in range(4) if rng.random() < 0.5]
    kept = events
    while True:
        users, items = [[e[k] for e in kept] for k in (0, 1)]
        smaller = [e for e in kept if users.count(e[0]) >= 2 and items.count(e[1]) >= 4]
        if smaller == kept:
            break
        kept = smaller
    found = gathered(raw(events, ITEMS), min_user_events=2, min_item_events=4)
    assert sorted((u, pid) for u, pids in histories(found).items() for pid in pids) == sorted(
        e[:2] for e in kept
    )
    assert 0 < len(kept) < len(events)


def test_items_without_events_stay_unless_a_smallest_number_is_given():
    events = [("1", "a", 1), ("1", "b", 2)]
    assert len(gathered(raw(events, ITEMS)).items) == 4
    assert len(gathered(raw(events, ITEMS), min_item_events=1).items) == 2
    assert len(gathered(raw(events, ITEMS), {"items_without_interactions": "drop"}).items) == 2


def test_leaving_out_users_with_one_event_keeps_the_smallest_number_of_items():
    events = [("1", "a", 1), ("1", "b", 2), ("2", "a", 1), ("2", "b", 2), ("3", "c", 1), ("4", "c", 1)]
    found = gathered(raw(events, ITEMS), {"users_with_one_event": "drop"}, min_item_events=2)
    assert histories(found) == {"1": ["a", "b"], "2": ["a", "b"]}
    assert [item.pid for item in found.items] == ["a", "b"]
    assert found.remarks == (
        "users with one event, of which nothing can be held out: 2 (user 3; user 4); "
        "left out (policy.users_with_one_event)",
        "items with fewer than 2 events: 2 (item c; item d); left out (min_item_events)",
        "events left out with these users and items: 2",
    )


@pytest.mark.parametrize(("choice", "kept"), [("keep", ["", "film b"]), ("drop", ["film b"])])
def test_items_of_which_nothing_is_written_stay_or_go_with_their_events(choice, kept):
    events = [("1", "a", 1), ("1", "b", 2), ("2", "a", 1)]
    found = gathered(raw(events, (Item("a"), Item("b", "film b"))), {"items_without_text": choice})
    assert [item.title for item in found.items] == kept
    assert found.remarks[-1] == (
        "events left out with these users and items: 2"
        if choice == "drop"
        else "users with one event, of which nothing can be held out: 1 (user 2); "
        "trained on, not evaluated (policy.users_with_one_event)"
    )


def test_a_text_without_a_title_is_text():
    assert "neither" not in str(gathered(raw([("1", "a", 1)], (Item("a", text="long"),))).remarks)


def test_users_that_a_core_leaves_with_one_event_are_refused_where_the_policy_says_so():
    told = message(raw(CHAIN, ITEMS), {"users_with_one_event": "error"}, min_item_events=2)
    assert told == (
        "here:\n  users with one event, of which nothing can be held out: 1 (user 3); "
        "correct them, or choose otherwise with policy.users_with_one_event"
    )


def test_every_column_goes_along_when_users_and_items_are_left_out():
    events = [("1", "a", 1, 1, "x", "q1"), ("1", "b", 2, 2, "y", None), ("2", "a", 1, 3, "x", "q3")]
    events += [("3", "a", 1, 4, None, "q4"), ("3", "c", 2, 5, "y", "q5"), ("3", "b", 3, 6, "x", "q6")]
    vectors = np.arange(8, dtype=np.float32).reshape(4, 2)
    found = gathered(raw(events, ITEMS, embeddings_ND=vectors), min_user_events=2, min_item_events=2)
    assert histories(found) == {"1": ["a", "b"], "3": ["a", "b"]}
    assert found.offsets_U1.tolist() == [0, 2, 4]
    assert found.times_E.tolist() == [1, 2, 1, 3]
    assert found.ratings_E.tolist() == [1, 2, 4, 6]
    assert [found.type_names[kind] if kind >= 0 else None for kind in found.types_E] == ["x", "y", None, "x"]
    assert found.queries_E.to_pylist() == ["q1", None, "q4", "q6"]
    assert found.embeddings_ND.tolist() == [[0, 1], [2, 3]]
