import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onerec.build.encode import encode_items
from onerec.build.ids.semantic_ids import make_ids
from onerec.build.split import leave_last_out
from onerec.config import BuildData, Columns, EncodeItemsConfig, Vocab
from onerec.errors import ConfigError, DataError
from onerec.vocab import item_text
from tests.build import films

COLUMNS = Columns(id="pid", title="title", categories="categories", year="year")
VOCAB = Vocab(itemic_layer_n=2, vocab_size_per_layer=16)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of a build, as far as new items need it."""
    folder = tmp_path_factory.mktemp("built")
    found = films.interactions(films.items(40), films.users(20), films.events(20, 40, each=12))
    data = BuildData(source="movielens-100k", item_vector_size=8)
    ids = make_ids(found, leave_last_out(found), data=data, vocab=VOCAB, seed=1, folder=folder)
    table = pa.table({"pid": [item.pid for item in found.items], "sid": ids.codes_NL.tolist()})
    about = {"itemic_layer_n": 2, "vocab_size_per_layer": 16}
    pq.write_table(
        table.replace_schema_metadata({b"onerec": json.dumps(about).encode()}), folder / "items.parquet"
    )
    return folder


def encode(built, folder, rows, *, name="new", before=(), columns=COLUMNS):
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    config = EncodeItemsConfig(
        output_dir=str(folder),
        built_dir=str(built),
        items=str(folder / f"{name}.parquet"),
        columns=columns,
        encoded_before=tuple(str(path) for path in before),
        target=str(folder / f"{name}-ids.parquet"),
    )
    told = encode_items(config)
    return told, pq.read_table(config.target).to_pylist()


def row(pid, title, year=1970, categories=("Drama",)):
    return {"pid": pid, "title": title, "year": year, "categories": list(categories)}


def ids_of(rows):
    return [tuple(row["sid"]) for row in rows]


def taken(built):
    return {tuple(codes) for codes in pq.read_table(built / "items.parquet")["sid"].to_pylist()}


def test_new_items_get_ids_that_nobody_has_and_the_same_ones_every_time(built, tmp_path):
    rows = [row(f"n{i}", f"Golden River, The (No. {i})") for i in range(30)]
    told, written = encode(built, tmp_path, rows)
    assert [one["pid"] for one in written] == [one["pid"] for one in rows]
    assert [one["title"] for one in written] == [one["title"] for one in rows]
    assert len({*ids_of(written), *taken(built)}) == 70
    assert [one["sid_text"] for one in written] == [item_text(codes) for codes in ids_of(written)]
    assert (told["new_items"], told["known_items"], told["without_known_words"]) == (30, 40, 0)
    assert told["report"][0].startswith("30 new items have ids, beside 40 that had one; no two share one")
    first = (tmp_path / "new-ids.parquet").read_bytes()
    encode(built, tmp_path, rows)
    assert (tmp_path / "new-ids.parquet").read_bytes() == first


def test_items_that_are_written_alike_get_ids_that_begin_alike(built, tmp_path):
    alike = [row(f"n{i}", "Golden River, The") for i in range(3)]
    _, written = encode(built, tmp_path, alike)
    assert len({codes[0] for codes in ids_of(written)}) == 1


def test_known_items_and_repeated_rows_are_told_and_left_out(built, tmp_path):
    rows = [row("7", "other"), row("new", "Red King"), row("new", "Lost King"), row("1", "other")]
    told, written = encode(built, tmp_path, rows)
    assert [(one["pid"], one["title"]) for one in written] == [("new", "Red King")]
    assert told["remarks"] == [
        "rows about an item that an earlier row describes: 1 (new); the first counts",
        "items that have an id already: 2 (1, 7); it stays; left out",
    ]
    assert told["report"][-2:] == told["remarks"]


def test_ids_of_items_that_were_encoded_before_are_not_given_again(built, tmp_path):
    rows = [row(f"n{i}", "Golden River") for i in range(5)]
    _, first = encode(built, tmp_path, rows)
    again = [row("n0", "Golden River"), row("m", "Golden River")]
    told, second = encode(built, tmp_path, again, name="later", before=[tmp_path / "new-ids.parquet"])
    assert [one["pid"] for one in second] == ["m"]
    assert not set(ids_of(first)) & set(ids_of(second))
    assert told["known_items"] == 45


def test_a_new_item_without_a_word_that_is_known_is_counted(built, tmp_path):
    told, written = encode(built, tmp_path, [row("x", "qwertz", year=None, categories=())])
    assert (told["without_known_words"], len(written)) == (1, 1)
    assert "1 of them have no word that the build knows" in told["report"][2]


def test_nothing_new_writes_an_empty_table(built, tmp_path):
    told, written = encode(built, tmp_path, [row("7", "other")])
    assert (told["new_items"], written) == (0, [])


def test_as_many_items_as_ids_are_left_fit_and_one_more_does_not(built, tmp_path):
    rows = [row(f"n{i}", f"King {i}") for i in range(16 * 16 - 40)]
    _, written = encode(built, tmp_path, rows)
    assert len({*ids_of(written), *taken(built)}) == 256
    with pytest.raises(ConfigError, match="257 items do not fit into 2 levels of 16 codes"):
        encode(built, tmp_path, [*rows, row("one", "more")])


def test_columns_that_are_missing_and_items_without_id_are_told(built, tmp_path):
    with pytest.raises(ConfigError, match=r"has no column 'pidd' for columns\.id; did you mean 'pid'"):
        encode(built, tmp_path, [row("a", "b")], columns=Columns(id="pidd"))
    with pytest.raises(DataError, match=r"items without an id: 1 \(new.parquet, row 2\); give each item one"):
        encode(built, tmp_path, [row("a", "b"), row(None, "c")])


def test_given_embeddings_are_taken_from_the_new_table(tmp_path):
    rng = np.random.default_rng(0)
    found = films.interactions(films.items(20), films.users(5), films.events(5, 20, each=4))
    vectors = rng.standard_normal((20, 4), dtype=np.float32)
    columns = Columns(id="pid", embedding="vector")
    data = BuildData(source="movielens-100k", item_vectors="embedding", columns=columns)
    object.__setattr__(found, "embeddings_ND", vectors)
    ids = make_ids(found, leave_last_out(found), data=data, vocab=VOCAB, seed=1, folder=tmp_path)
    table = pa.table({"pid": [item.pid for item in found.items], "sid": ids.codes_NL.tolist()})
    pq.write_table(table, tmp_path / "items.parquet")
    rows = [{"pid": f"n{i}", "vector": vectors[i].tolist()} for i in range(3)]
    _, written = encode(tmp_path, tmp_path, rows, columns=columns)
    assert [codes[0] for codes in ids_of(written)] == ids.codes_NL[:3, 0].tolist()
