import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onerec.errors import ConfigError, DataError
from onerec.items.item_map import ITEMS_NAME, METADATA_KEY, load_item_map


def write(path, pids, sids, *, about=None, **columns):
    table = pa.table(
        {"pid": pa.array(pids, pa.string()), "sid": pa.array(sids, pa.list_(pa.int32())), **columns}
    )
    metadata = {METADATA_KEY: json.dumps(about).encode()} if about else None
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


def test_a_map_is_read_from_a_file_or_a_model_folder(tmp_path):
    about = {"itemic_layer_n": 2, "vocab_size_per_layer": 4, "question": "{history}?", "history_length": 9}
    columns = {"title": ["A", None], "train_popularity": [3, None], "year": [1, 2]}
    path = write(tmp_path / ITEMS_NAME, ["x", "y"], [[1, 2], [3, 0]], about=about, **columns)
    for place in (path, tmp_path):
        items = load_item_map(place)
        assert items.pids == ("x", "y")
        assert items.codes_NL.tolist() == [[1, 2], [3, 0]]
        assert items.titles == ("A", "")
        assert items.popularity_N.tolist() == [3, 0]
        assert items.about == about
        assert (items.layer_n, len(items)) == (2, 2)
        assert items.number_of("y") == 1


def test_a_bare_map_of_pid_and_sid_is_enough(tmp_path):
    items = load_item_map(write(tmp_path / "map.parquet", ["1", "2"], [[1, 2, 3], [0, 0, 0]]))
    assert items.codes_NL.dtype == np.int32
    assert items.titles == ("", "")
    assert items.popularity_N.tolist() == [0, 0]


@pytest.mark.parametrize(
    "kind", [pa.large_list(pa.int64()), pa.list_(pa.uint16(), 2), pa.list_(pa.int8())], ids=str
)
def test_lists_of_codes_may_be_of_any_kind(tmp_path, kind):
    table = pa.table({"pid": pa.array([7, 8]), "sid": pa.array([[1, 2], [3, 0]], kind)})
    pq.write_table(table, tmp_path / "map.parquet")
    items = load_item_map(tmp_path / "map.parquet")
    assert (items.pids, items.codes_NL.tolist()) == (("7", "8"), [[1, 2], [3, 0]])


@pytest.mark.parametrize(
    ("sids", "told"),
    [
        (pa.array(["<s_a_1>"]), "sid is a column of string; an item map has lists of codes"),
        (pa.array([["1"]]), "sid is a column of list"),
        (pa.array([[1, None]]), "1 codes of ids are null"),
    ],
    ids=["text", "lists of text", "null"],
)
def test_ids_that_are_no_lists_of_codes_are_told(tmp_path, sids, told):
    pq.write_table(pa.table({"pid": ["a"], "sid": sids}), tmp_path / "map.parquet")
    with pytest.raises(DataError, match=told):
        load_item_map(tmp_path / "map.parquet")


def test_an_unknown_item_is_told_with_those_that_are_near(tmp_path):
    items = load_item_map(write(tmp_path / "map.parquet", ["B0001", "B0002"], [[1], [2]]))
    with pytest.raises(ConfigError, match=r"no item 'B001' among the 2 items .*; did you mean B0001"):
        items.number_of("B001")
    with pytest.raises(ConfigError, match=r"no item 'zzz' among the 2 items of .*; such as B0001, B0002"):
        items.number_of("zzz")


@pytest.mark.parametrize(
    ("pids", "sids", "sizes", "told"),
    [
        (["a", "b", "a"], [[1], [2], [3]], {}, r"1 items stand there twice \(a\)"),
        (["a", "b"], [[1, 2], [1, 2]], {}, r"1 ids belong to several items \(<s_a_1><s_b_2>\)"),
        (["a", "b"], [[1], [4]], {"size_per_layer": 4}, r"1 items have codes outside 4 \(b\)"),
        (["a", "b"], [[1], [-1]], {}, r"1 items have codes outside None \(b\)"),
        (["a", "b"], [[1, 2], [1]], {}, "1 ids have another number of levels than 2"),
        (["a", "b"], [[1], [2]], {"layer_n": 3}, "2 ids have another number of levels than 3"),
        ([], [], {}, "holds no items"),
        (["a", None], [[1], [2]], {}, "without pid or sid"),
    ],
    ids=[
        "item twice",
        "id twice",
        "code too large",
        "code below 0",
        "ragged",
        "other levels",
        "empty",
        "null",
    ],
)
def test_a_map_that_cannot_be_is_refused(tmp_path, pids, sids, sizes, told):
    path = write(tmp_path / "map.parquet", pids, sids)
    with pytest.raises(DataError, match=told):
        load_item_map(path, **sizes)


def test_what_is_no_map_is_told(tmp_path):
    with pytest.raises(ConfigError, match="has no item map; convert it anew"):
        load_item_map(tmp_path)
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        load_item_map(tmp_path / "text.parquet")
    pq.write_table(pa.table({"pid": ["a"], "id": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="has the columns pid, id; an item map has pid and sid"):
        load_item_map(tmp_path / "other.parquet")
