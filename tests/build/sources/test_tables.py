"""Tables of a user's own through the one entrance: columns by name, and what is told of odd ones."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from onerec.build.interactions import Interactions, Item, User
from onerec.build.sources.find import find
from onerec.config.build import BuildData, Columns, Policy
from onerec.errors import ConfigError, DataError
from tests.build.sources.same import assert_same

EVENTS = [
    {"who": 7, "what": 10, "when": 200, "stars": 5, "did": "buy", "asked": "a gift"},
    {"who": 7, "what": 2, "when": 100, "stars": None, "did": "view", "asked": None},
    {"who": 12, "what": 2, "when": 300, "stars": 1.5, "did": None, "asked": "fun"},
    {"who": 12, "what": 10, "when": 400, "stars": 4, "did": "view", "asked": None},
]
ITEMS = [
    {"pid": 10, "name": " Ten ", "about": "tenth", "kinds": "x|y", "made": 1999, "vector": [1.0, 2.0]},
    {"pid": 2, "name": "Two", "about": None, "kinds": None, "made": None, "vector": [3.0, 4.0]},
]
COLUMNS = Columns(
    user="who",
    item="what",
    time="when",
    rating="stars",
    type="did",
    query="asked",
    id="pid",
    title="name",
    text="about",
    categories="kinds",
    year="made",
)
EXPECTED = Interactions(
    items=(Item("2", "Two"), Item("10", "Ten", 1999, ("x", "y"), "tenth")),
    users=(User("7"), User("12")),
    offsets_U1=np.array([0, 2, 4]),
    items_E=np.array([0, 1, 0, 1], dtype=np.int32),
    times_E=np.array([100, 200, 300, 400]),
    ratings_E=np.array([np.nan, 5, 1.5, 4], dtype=np.float32),
    types_E=np.array([1, 0, -1, 1], dtype=np.int32),
    type_names=("buy", "view"),
    queries_E=pa.array([None, "a gift", "fun", None], pa.string()),
    remarks=(
        "users whose events do not stand in order of time: 1 (user 7); sorted (policy.unordered_times)",
    ),
)


def write(rows, path):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        flat = pa.Table.from_pylist([{k: v for k, v in row.items() if k != "vector"} for row in rows])
        csv.write_csv(flat, path, csv.WriteOptions(delimiter="\t" if path.suffix == ".tsv" else ","))
    return str(path)


def found(folder, events=EVENTS, items=ITEMS, suffixes=(".parquet", ".parquet"), columns=COLUMNS, **keys):
    data = BuildData(
        interactions=write(events, folder / f"events{suffixes[0]}"),
        items=write(items, folder / f"items{suffixes[1]}"),
        columns=columns,
        **keys,
    )
    return find(data, cache_dir=folder / "cache").interactions


def message(*args, kind=DataError, **keys):
    with pytest.raises(kind) as told:
        found(*args, **keys)
    return str(told.value)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".jsonl"])
def test_the_same_data_set_comes_from_every_format(tmp_path, suffix):
    assert_same(found(tmp_path, suffixes=(suffix, suffix)), EXPECTED)


def test_the_two_tables_may_be_of_different_formats(tmp_path):
    assert_same(found(tmp_path, suffixes=(".csv", ".jsonl")), EXPECTED)


def test_a_folder_is_one_table(tmp_path):
    (tmp_path / "events").mkdir()
    write(EVENTS[:1], tmp_path / "events" / "1.csv")
    write(EVENTS[1:], tmp_path / "events" / "2.jsonl")
    items = write(ITEMS, tmp_path / "items.parquet")
    data = BuildData(interactions=str(tmp_path / "events"), items=items, columns=COLUMNS)
    whole = find(data, cache_dir=tmp_path)
    assert_same(whole.interactions, EXPECTED)
    assert (whole.origin, whole.licence) == (f"{tmp_path / 'events'} and {items}", None)


def test_embeddings_are_read_where_they_are_asked_for(tmp_path):
    columns = COLUMNS.model_copy(update={"embedding": "vector"})
    given = found(tmp_path, columns=columns, item_vectors="embedding")
    assert given.embeddings_ND.tolist() == [[3, 4], [1, 2]]
    assert found(tmp_path, columns=columns).embeddings_ND is None


def test_embeddings_that_do_not_fit_are_told_with_all_else(tmp_path):
    items = [
        {"item_id": 1, "title": "a", "v": [1.0, 2.0]},
        {"item_id": 2, "title": "b", "v": [1.0]},
        {"item_id": 3, "title": "c", "v": None},
        {"item_id": 4, "title": "d", "v": [1.0, float("nan")]},
    ]
    events = [{"user_id": 1, "item_id": n, "timestamp": n} for n in (1, 5)]
    told = message(tmp_path, events, items, columns=Columns(embedding="v"), item_vectors="embedding")
    assert told == (
        f"{tmp_path}/events.parquet and {tmp_path}/items.parquet:\n"
        "  values in 'v' that are no lists of 2 finite numbers: 2 (items.parquet, row 2: '[1.0]'; "
        "items.parquet, row 4: '[1.0, nan]'); correct them, or name another column by columns.embedding\n"
        "  interactions with items (1 of them) that are not among the 4 described: 1 (events.parquet, row 2: "
        "item '5'); correct them, or choose otherwise with policy.unknown_items\n"
        "  items, of 4, that have no embedding: 3 (item 2; item 3; item 4); "
        "give each item one, or leave these items out of the table"
    )


def test_columns_that_are_not_there_are_told_for_both_tables_with_the_nearest(tmp_path):
    columns = COLUMNS.model_copy(update={"user": "Who", "rating": "star", "categories": "genres"})
    start, there = f"{tmp_path}/events.parquet has no column", "it has who, what, when, stars, did, asked"
    assert message(tmp_path, columns=columns, kind=ConfigError) == (
        f"{start} 'Who' for columns.user; did you mean 'who'? {there}\n"
        f"{start} 'star' for columns.rating; did you mean 'stars'? {there}\n"
        f"{tmp_path}/items.parquet has no column 'genres' for columns.categories; "
        "it has pid, name, about, kinds, made, vector"
    )


def test_a_column_twice_is_told(tmp_path):
    (tmp_path / "e.csv").write_text("user_id,user_id,item_id,timestamp\n1,2,3,4\n")
    data = BuildData(interactions=str(tmp_path / "e.csv"), items=write(ITEMS, tmp_path / "i.csv"))
    with pytest.raises(ConfigError, match=r"e\.csv has 2 columns 'user_id'; rename all but one"):
        find(data, cache_dir=tmp_path)


def test_items_need_no_title_unless_it_is_named(tmp_path):
    events = [{"user_id": 1, "item_id": 1, "timestamp": 1}, {"user_id": 1, "item_id": 2, "timestamp": 2}]
    items = [{"item_id": 1}, {"item_id": 2}]
    remarks = found(tmp_path, events, items, columns=Columns()).remarks
    assert remarks[0] == "the items have no column 'title', so no titles (columns.title)"
    told = message(tmp_path, events, items, columns=Columns(title="title"), kind=ConfigError)
    assert "no column 'title' for columns.title" in told


def test_ids_of_two_types_are_refused_or_read_as_texts(tmp_path):
    events = [{**event, "what": str(event["what"])} for event in EVENTS]
    told = message(tmp_path, events)
    assert told == (
        f"{tmp_path}/events.parquet and {tmp_path}/items.parquet:\n"
        "  ids of items that are numbers where 4 are texts: 2 (items.parquet, row 1: '10' of the numbers; "
        "events.parquet, row 1: '10' of the texts); correct them, or choose otherwise with policy.mixed_ids"
    )
    lenient = found(tmp_path, events, policy=Policy(mixed_ids="text"))
    assert lenient.items_E.tolist() == EXPECTED.items_E.tolist()


def test_values_that_are_not_what_their_column_is_for_are_told_at_once(tmp_path):
    events = [
        {"user_id": "a", "item_id": "1", "timestamp": "yesterday", "stars": "many"},
        {"user_id": "a", "item_id": "", "timestamp": "2020-01-01", "stars": "3"},
    ]
    items = [{"item_id": "1", "title": "x", "year": "soon"}]
    columns = Columns(rating="stars", year="year")
    files = f"{tmp_path}/events.csv and {tmp_path}/items.csv"
    assert message(tmp_path, events, items, (".csv", ".csv"), columns=columns) == (
        f"{files}:\n"
        "  values in 'timestamp' that are no times or dates: 1 (events.csv, row 1: 'yesterday'); "
        "correct them, or name another column by columns.time\n"
        "  values in 'stars' that are no numbers: 1 (events.csv, row 1: 'many'); "
        "correct them, or name another column by columns.rating\n"
        "  interactions without a user, an item or a time: 2 (events.csv, row 1; events.csv, row 2); "
        "correct them, or choose otherwise with policy.missing_values"
    )


def test_a_table_without_rows_is_told(tmp_path):
    (tmp_path / "e.csv").write_text("user_id,item_id,timestamp\n")
    data = BuildData(interactions=str(tmp_path / "e.csv"), items=str(tmp_path / "e.csv"))
    with pytest.raises(DataError, match=r"there are no rows|no events are left"):
        find(data, cache_dir=tmp_path)


MILLIONS = """
import resource, sys
from pathlib import Path
from onerec.build.sources.find import find
from onerec.config.build import BuildData, Columns
folder = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
columns = Columns(rating="rating")
data = BuildData(interactions=str(folder / "e.csv"), items=str(folder / "i.csv"), columns=columns)
found = find(data, cache_dir=folder)
print(found.interactions.num_events, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_two_million_events_need_little_memory(tmp_path):
    rng, count = np.random.default_rng(0), 2_000_000
    events = {
        "user_id": rng.integers(0, 100_000, count),
        "item_id": rng.permutation(np.arange(count) % 20_000),
        "timestamp": rng.integers(10**9, 2 * 10**9, count),
        "rating": rng.integers(1, 6, count),
    }
    csv.write_csv(pa.table(events), tmp_path / "e.csv")
    csv.write_csv(pa.table({"item_id": np.arange(20_000), "title": ["x"] * 20_000}), tmp_path / "i.csv")
    done = subprocess.run(
        [sys.executable, "-c", MILLIONS, str(tmp_path)], capture_output=True, text=True, check=True
    )
    num_events, more_kib = map(int, done.stdout.split())
    assert num_events > 1_900_000
    assert more_kib < 400 * 1024
