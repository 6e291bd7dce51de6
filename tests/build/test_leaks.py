"""What is held out is in no training row: as bytes of two whole builds, and as a promise about any data."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onerec.build.data import build_data
from onerec.build.interactions import Item
from onerec.build.sources.find import find
from onerec.build.split import NONE, split_of
from onerec.build.tasks.folders import tables_of_folders, unfed_tasks
from onerec.config import BuildData, BuildDataConfig, Columns, Vocab
from onerec.errors import DataError
from tests.build.built import items_of, rows_of, tree
from tests.build.tasks.materials import interactions, material, rows

NUM_USERS, NUM_ITEMS, EACH = 24, 48, 9
SPLITS = {
    "leave_last_out": {},
    "time": {"split": "time", "validation_share": 0.15, "test_share": 0.15},
}
TRAINING = ("pretrain/", "sft/", "codebooks/", "items.parquet")
HELD_OUT = ("validation/", "test/", "test_tasks/")


def source_tables():
    """Every user meets other items at other times, and rates, types and asks."""
    draw = np.random.default_rng(5)
    events = [
        {
            "user_id": f"u{user}",
            "item_id": f"i{item}",
            "timestamp": int(1_000_000 + 1000 * place + draw.integers(900)),
            "rating": int(draw.integers(1, 6)),
            "type": str(draw.choice(["click", "buy"])),
            "query": f"something like {item}",
        }
        for user in range(NUM_USERS)
        for place, item in enumerate(draw.permutation(NUM_ITEMS)[:EACH])
    ]
    items = [{"item_id": f"i{item}", "title": f"Thing {item}", "tags": "a|b"} for item in range(NUM_ITEMS)]
    return events, items


def data_of(folder, events, items, **changes):
    folder.mkdir()
    for name, table in (("events", events), ("items", items)):
        pyarrow.csv.write_csv(pa.Table.from_pylist(table), folder / f"{name}.csv")
    return BuildData(
        interactions=str(folder / "events.csv"),
        items=str(folder / "items.csv"),
        columns=Columns(rating="rating", type="type", query="query", categories="tags"),
        positive_types=("buy",),
        history_copies=2,
        **changes,
    )


def built(output_dir, data):
    vocab = Vocab(itemic_layer_n=2, vocab_size_per_layer=8)
    return build_data(BuildDataConfig(output_dir=str(output_dir), seed=7, vocab=vocab, data=data))


def with_other_held_out_events(events, data):
    """The same table with another item, rating, type and query in every event that may not be trained on."""
    found = find(data, cache_dir=None).interactions
    trained_E = split_of(found, data).is_trained(found)
    users_E = found.users_of_events
    held_out = {
        (found.users[users_E[event]].uid, found.items[found.items_E[event]].pid)
        for event in np.flatnonzero(~trained_E)
    }
    met = {(event["user_id"], event["item_id"]) for event in events}
    changed = []
    for event in events:
        if (event["user_id"], event["item_id"]) in held_out:
            other = next(pid for n in range(NUM_ITEMS) if (event["user_id"], pid := f"i{n}") not in met)
            met.add((event["user_id"], other))
            new = {"item_id": other, "rating": 6 - event["rating"], "type": "return", "query": "no"}
            changed.append(event | new)
        else:
            changed.append(event)
    assert 0 < len(held_out) == sum(new != old for new, old in zip(changed, events, strict=True))
    return changed


@pytest.mark.parametrize("split", SPLITS)
def test_other_held_out_events_change_what_is_asked_and_no_byte_of_what_is_trained_on(tmp_path, split):
    events, items = source_tables()
    data = data_of(tmp_path / "source", events, items, **SPLITS[split])
    other = data_of(tmp_path / "other", with_other_held_out_events(events, data), items, **SPLITS[split])
    summary = built(tmp_path / "built", data)
    built(tmp_path / "changed", other)
    assert set(summary["rows"]["sft"]) == {
        *("next_item", "typed_next_item", "label_prediction", "interactive", "item_description")
    }
    before, after = tree(tmp_path / "built"), tree(tmp_path / "changed")
    differing = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert [name for name in differing if name.startswith(TRAINING)] == []
    assert all(any(name.startswith(folder) for name in differing) for folder in HELD_OUT)
    assert "histories.parquet" in differing
    ids = [[(row["pid"], row["sid"]) for row in items_of(tmp_path / name)] for name in ("built", "changed")]
    assert ids[0] == ids[1]


def test_the_leak_test_would_see_a_leak(tmp_path, monkeypatch):
    """With the validation event among what is trained on, training rows do change."""
    events, items = source_tables()
    data = data_of(tmp_path / "source", events, items)
    other = data_of(tmp_path / "other", with_other_held_out_events(events, data), items)
    for name, used in (("built", data), ("changed", other)):
        built(tmp_path / name, used.model_copy(update={"validation": False}))
    before, after = tree(tmp_path / "built"), tree(tmp_path / "changed")
    assert {name.split("/")[0] for name in before if before[name] != after.get(name)} >= {"pretrain", "sft"}


@st.composite
def data_sets(draw):
    """Users of a few events at seconds that repeat; every event has an item of its own, so that rows tell."""
    times = draw(
        st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=7).map(sorted), min_size=1, max_size=5)
    )
    count = sum(map(len, times))
    numbers = iter(range(count))
    return interactions(
        [[next(numbers) for _ in own] for own in times],
        items=[Item(str(n), f"T{n}", None, ("a",)) for n in range(count)],
        times=times,
        ratings=draw(st.lists(st.integers(1, 5), min_size=count, max_size=count)),
        queries_E=pa.array(["q"] * count),
    )


CHOICES = st.fixed_dictionaries(
    {
        "history_length": st.integers(1, 4),
        "window_items": st.integers(1, 4),
        "samples_per_user": st.integers(1, 4),
        "history_copies": st.integers(1, 2),
        "positive_rating": st.sampled_from([2, 4]),
    }
)


@settings(max_examples=60, deadline=None)
@given(found=data_sets(), chosen=CHOICES, split=st.sampled_from([{}, {"validation": False}, SPLITS["time"]]))
def test_no_training_row_holds_an_event_at_or_after_its_users_targets_or_the_moment(found, chosen, split):
    try:
        made = material(found, **chosen, **split)
    except DataError:
        return  # nothing is left to train on, and that is told
    tasks = [task for task in made.data.tasks if task not in unfed_tasks(made)]
    folders = {name: rows(tables) for name, tables in tables_of_folders(made, tasks).items()}
    user_of = {user.uid: number for number, user in enumerate(found.users)}
    for row in folders["pretrain"] + folders["sft"]:
        if "user" in row["metadata"]:
            user = user_of[row["metadata"]["user"]]
            for event in events_of(row):
                check_is_trained_on(made, user, event)
    for name, places_U in (("validation", made.split.validation_U), ("test", made.split.test_U)):
        asked = [(row["metadata"]["user"], events_of(row)) for row in folders[name]]
        assert asked == [
            (
                found.users[user].uid,
                [*found.history(user)[: places_U[user] + 1][-1 - chosen["history_length"] :]],
            )
            for user in np.flatnonzero(places_U != NONE)
        ]


def events_of(row):
    """Numbers of the events whose items a row has, in their order."""
    return [int(number) for said in row["said"] for number in re.findall(r"<(\d+)>", said)]


def check_is_trained_on(made, user, event):
    found, split = made.interactions, made.split
    place = event - found.offsets_U1[user]
    targets = [place for place in (split.validation_U[user], split.test_U[user]) if place != NONE]
    assert 0 <= place < min([*targets, found.offsets_U1[user + 1] - found.offsets_U1[user]])
    if split.moments is not None:
        assert found.times_E[event] < split.moments[0]


def test_a_build_asks_everybody_who_has_a_target_once(tmp_path):
    events, items = source_tables()
    built(tmp_path / "built", data_of(tmp_path / "source", [*events, events[0] | {"user_id": "lone"}], items))
    for name in ("validation", "test"):
        users = [row["metadata"]["user"] for row in rows_of(tmp_path / "built" / name)]
        assert sorted(users) == sorted(f"u{user}" for user in range(NUM_USERS))
