"""Raw columns to interactions: order, ties and every policy, with whole messages."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from onerec.build.interactions import Interactions, Item, User
from onerec.build.sources.gather import NO_TIME, Raw, RawEvents, gather
from onerec.build.sources.oddities import Oddities, Rows
from onerec.config.build import BuildData, Policy
from onerec.errors import DataError
from tests.build import films
from tests.build.sources.same import assert_same

CATALOGUE = tuple(Item(pid, f"film {pid}") for pid in ("10", "2", "1"))


def raw(events, items=CATALOGUE, **more):
    """Events as (user, item, time) or (user, item, time, rating, type, query)."""
    users, pids, times, ratings, types, queries = zip(
        *[(*e, *(None,) * (6 - len(e))) for e in events], strict=True
    )
    rich = len(events[0]) == 6
    return Raw(
        events=RawEvents(
            users_E=pa.array(users, pa.string()),
            items_E=pa.array(pids, pa.string()),
            times_E=np.array([NO_TIME if time is None else time for time in times], dtype=np.int64),
            ratings_E=np.array(ratings, dtype=np.float32) if rich else None,
            types_E=pa.array(types, pa.string()) if rich else None,
            queries_E=pa.array(queries, pa.string()) if rich else None,
            rows=Rows(["e.csv"], [0]),
        ),
        items=tuple(items),
        item_rows=Rows(["i.csv"], [0]),
        **more,
    )


def gathered(source, policy=None, **keys):
    data = BuildData(interactions="e.csv", items="i.csv", policy=Policy(**(policy or {})), **keys)
    return gather(source, data=data, oddities=Oddities("here"))


def histories(found):
    return {user.uid: [found.items[i].pid for i in found.history(n)] for n, user in enumerate(found.users)}


def message(source, policy=None, **keys):
    with pytest.raises(DataError) as told:
        gathered(source, policy, **keys)
    return str(told.value)


def test_every_column_goes_along_into_the_order_of_users_time_and_items():
    events = [
        ("7", "10", 5, 1.0, "view", "fun"),
        ("7", "2", 5, 2.0, "buy", None),
        ("12", "1", 1, 3.0, None, "sad"),
        ("7", "1", 3, None, "view", None),
    ]
    found = gathered(raw(events, users=(User("12", 30), User("99", 40))))
    expected = Interactions(
        items=(Item("1", "film 1"), Item("2", "film 2"), Item("10", "film 10")),
        users=(User("7"), User("12", 30)),
        offsets_U1=np.array([0, 3, 4]),
        items_E=np.array([0, 1, 2, 0], dtype=np.int32),
        times_E=np.array([3, 5, 5, 1]),
        ratings_E=np.array([np.nan, 2, 1, 3], dtype=np.float32),
        types_E=np.array([1, 0, 1, -1], dtype=np.int32),
        type_names=("buy", "view"),
        queries_E=pa.array([None, None, "fun", "sad"], pa.string()),
        remarks=(
            "users whose events do not stand in order of time: 1 (user 7); sorted (policy.unordered_times)",
            "users with one event, of which nothing can be held out: 1 (user 12); "
            "trained on, not evaluated (policy.users_with_one_event)",
        ),
    )
    assert_same(found, expected)


def test_the_same_result_comes_from_events_in_any_order():
    items, users, events = films.items(30), films.users(9), films.events(9, 30, each=8)
    one, other = (
        films.interactions(items, users, events),
        films.interactions(items[::-1], users, events[::-1]),
    )
    assert "do not stand in order" in other.remarks[0]
    assert_same(replace(one, remarks=()), replace(other, remarks=()))


@pytest.mark.parametrize(
    ("choice", "ratings", "remark"),
    [
        ("first", [1, 2, 4], "the first one counts"),
        ("last", [2, 3, 4], "the last one counts"),
        ("keep", [1, 2, 3, 4], "each counts"),
    ],
)
def test_an_item_met_again_counts_as_the_policy_says(choice, ratings, remark):
    events = [
        (*event, "", "")
        for event in [("1", "2", 1, 1), ("1", "10", 2, 2), ("1", "2", 3, 3), ("1", "1", 4, 4)]
    ]
    found = gathered(raw(events), {"repeats": choice})
    assert found.ratings_E.tolist() == ratings
    assert found.remarks == (
        "interactions of a user with an item that the user meets more than once: 1 (user 1, item 2); "
        f"{remark} (policy.repeats)",
    )


def test_events_alike_in_user_item_and_time_count_once_as_the_source_has_them():
    events = [("1", "2", 1, 4.0, "", ""), ("1", "2", 1, 5.0, "", "")]
    assert gathered(raw(events)).ratings_E.tolist() == [4]
    assert gathered(raw(events), {"repeats": "last"}).ratings_E.tolist() == [5]


ODD = [
    ("1", "2", 9),
    (None, "2", 1),
    ("1", None, 1),
    ("1", "2", None),
    ("1", "99", 1),
    ("2", "98", 1),
    ("2", "99", 1),
    ("1", "2", 3),
    ("3", "1", 7),
]
STRICT = {
    "repeats": "error",
    "unordered_times": "error",
    "items_without_text": "error",
    "items_without_interactions": "error",
    "users_with_one_event": "error",
}
LENIENT = {"missing_values": "drop", "unknown_items": "drop", "duplicate_items": "first"}
ITEMS = (*CATALOGUE, Item("2", "another"), Item("", "nobody"), Item("3"))
TOLD = [
    ("items without an id: 1 (i.csv, row 5)", "left out", "missing_values"),
    (
        "rows about an item that an earlier row describes: 1 (i.csv, row 4: item '2')",
        "the first counts",
        "duplicate_items",
    ),
    (
        "interactions without a user, an item or a time: 3 (e.csv, row 2; e.csv, row 3; e.csv, row 4)",
        "left out",
        "missing_values",
    ),
    (
        "interactions with items (2 of them) that are not among the 4 described: 3 "
        "(e.csv, row 5: item '99'; e.csv, row 6: item '98'; e.csv, row 7: item '99')",
        "left out",
        "unknown_items",
    ),
    ("users whose events do not stand in order of time: 1 (user 1)", "sorted", "unordered_times"),
    (
        "interactions of a user with an item that the user meets more than once: 1 (user 1, item 2)",
        "the first one counts",
        "repeats",
    ),
    ("items with neither title nor text: 1 (item 3)", "kept, without rows about them", "items_without_text"),
    (
        "users with one event, of which nothing can be held out: 1 (user 3)",
        "trained on, not evaluated",
        "users_with_one_event",
    ),
    (
        "items without interactions: 2 (item 3; item 10)",
        "kept, their ids come from what is written about them",
        "items_without_interactions",
    ),
]


def test_all_that_is_odd_is_refused_at_once():
    expected = [f"{told}; correct them, or choose otherwise with policy.{key}" for told, _, key in TOLD]
    assert message(raw(ODD, ITEMS), STRICT) == "\n  ".join(["here:", *expected])


def test_all_that_is_odd_is_told_when_the_policy_lets_it_pass():
    found = gathered(raw(ODD, ITEMS), LENIENT)
    expected = [f"{told}; {then} (policy.{key})" for told, then, key in TOLD]
    # a repeat that is left out leaves user 1 with one event
    lonely = "users with one event, of which nothing can be held out: 2 (user 1; user 3)"
    expected[7] = f"{lonely}; trained on, not evaluated (policy.users_with_one_event)"
    assert list(found.remarks) == expected
    assert histories(found) == {"1": ["2"], "3": ["1"]}
    assert [item.title for item in found.items] == ["film 1", "film 2", "", "film 10"]


def test_every_policy_that_refuses_says_nothing_of_tidy_data():
    events = [("1", "1", 1), ("1", "2", 2), ("2", "2", 1), ("2", "10", 5)]
    assert gathered(raw(events), STRICT).remarks == ()


def test_no_more_than_three_examples_are_shown():
    events = [("1", "2", 1), *[("1", str(n), 1) for n in range(100, 1300)]]
    assert (
        "1,200 (e.csv, row 2: item '100'; e.csv, row 3: item '101'; e.csv, row 4: item '102'; ...)"
        in message(raw(events))
    )


def test_when_nothing_is_left_the_keys_to_look_at_are_named():
    assert message(raw([("1", "2", 1), ("2", "2", 1)]), min_user_events=2) == (
        "here: no events are left of 2; look at policy, min_user_events and min_item_events"
    )


def test_embeddings_follow_their_items_and_items_without_one_are_refused():
    vectors = np.array([[10, 0], [2, 0], [np.nan, np.nan]], dtype=np.float32)
    events = [("1", "2", 1), ("1", "10", 2)]
    found = gathered(raw(events, embeddings_ND=vectors), {"items_without_interactions": "drop"})
    assert found.embeddings_ND.tolist() == [[2, 0], [10, 0]]
    assert message(raw(events, embeddings_ND=vectors)) == (
        "here:\n  items, of 3, that have no embedding: 1 (item 1); "
        "give each item one, or leave these items out of the table"
    )


def test_ids_that_are_encoded_are_the_same_as_plain_texts():
    plain = raw([("b", "2", 1), (None, "10", 2), ("a", None, 2), ("a", "10", 3)])
    encoded = raw([("b", "2", 1)])
    events = RawEvents(
        users_E=plain.events.users_E.dictionary_encode(),
        items_E=plain.events.items_E.dictionary_encode(),
        times_E=plain.events.times_E,
        rows=plain.events.rows,
    )
    encoded = Raw(events=events, items=CATALOGUE, item_rows=plain.item_rows)
    assert_same(gathered(encoded, LENIENT), gathered(plain, LENIENT))
