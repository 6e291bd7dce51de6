import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onerec.build.ids.given import read_given_ids
from onerec.config import Vocab
from onerec.errors import ConfigError, DataError
from onerec.vocab import item_text

PIDS = ("a", "b", "c")
CODES = [[0, 1], [2, 3], [0, 0]]
VOCAB = Vocab(itemic_layer_n=2, vocab_size_per_layer=4)


def write(folder, pids, sids, kind=None):
    path = folder / "ids.parquet"
    kind = kind or pa.list_(pa.int64())
    pq.write_table(pa.table({"pid": pids, "sid": pa.array(sids, kind)}), path)
    return path


@pytest.mark.parametrize(
    ("sids", "kind"),
    [
        (CODES, pa.list_(pa.int32())),
        (CODES, pa.large_list(pa.int64())),
        (CODES, pa.list_(pa.int16(), 2)),
        ([item_text(tuple(codes)) for codes in CODES], pa.string()),
    ],
    ids=["list", "large list", "fixed list", "itemic text"],
)
def test_ids_are_read_from_lists_and_texts_in_the_order_of_the_items(tmp_path, sids, kind):
    path = write(tmp_path, list(PIDS), sids, kind)
    found = read_given_ids(path, ("c", "a", "b"), vocab=VOCAB)
    assert found.codes_NL.tolist() == [CODES[2], CODES[0], CODES[1]]
    assert found.remarks == ()


def test_pids_that_are_numbers_are_read_as_texts(tmp_path):
    path = write(tmp_path, [7, 8], CODES[:2])
    assert read_given_ids(path, ("8", "7"), vocab=VOCAB).codes_NL.tolist() == [CODES[1], CODES[0]]


def test_ids_of_unknown_items_are_counted_told_and_left_out(tmp_path):
    path = write(
        tmp_path, ["v", "w", "a", "x", "y", "b", "c"], [[9, 9]] * 2 + [CODES[0]] + [[]] * 2 + CODES[1:]
    )
    found = read_given_ids(path, PIDS, vocab=VOCAB)
    assert found.codes_NL.tolist() == CODES
    assert found.remarks == ("4 ids of items that are not in the data (v, w, x, ...); left out",)


def test_every_fault_is_told_at_once_with_its_count_and_examples(tmp_path):
    path = write(
        tmp_path,
        ["a", "a", "b", "c", "d", "e", "f"],
        [[0, 0], [0, 0], [0], [0, 4], [1, 1], [1, 1], [None, 1]],
    )
    with pytest.raises(DataError) as told:
        read_given_ids(path, ("a", "b", "c", "d", "e", "f", "g", "h"), vocab=VOCAB)
    assert str(told.value).splitlines()[1:] == [
        "  1 items with several rows (a)",
        "  2 of 8 items without an id (g, h)",
        "  2 ids that are not 2 codes, one of each level (b, f)",
        "  1 ids with codes outside 0 to 3 (c)",
        "  1 ids that belong to several items (<s_a_1><s_b_1>)",
        "correct the file, or fit [vocab] to it, or leave given_ids out to have ids made",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "<|sid_begin|><s_a_1><|sid_end|>",
        "<|sid_begin|><s_a_1><s_b_1><s_c_1><|sid_end|>",
        "<s_a_1><s_b_1>",
        "<|sid_begin|><s_b_1><s_a_1><|sid_end|>",
        "",
        None,
    ],
)
def test_a_text_that_is_no_whole_item_is_a_fault(tmp_path, text):
    path = write(tmp_path, ["a"], [text], pa.string())
    with pytest.raises(DataError, match=r"1 ids that are not 2 codes, one of each level \(a\)"):
        read_given_ids(path, ("a",), vocab=VOCAB)


def test_a_file_that_is_missing_no_parquet_or_without_the_columns_is_told(tmp_path):
    with pytest.raises(ConfigError, match="is not there; name a parquet file with pid and sid"):
        read_given_ids(tmp_path / "none.parquet", PIDS, vocab=VOCAB)
    (tmp_path / "text.parquet").write_text("pid,sid")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        read_given_ids(tmp_path / "text.parquet", PIDS, vocab=VOCAB)
    pq.write_table(pa.table({"item": ["a"], "sid": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="has the columns item, sid; it needs pid and sid"):
        read_given_ids(tmp_path / "other.parquet", PIDS, vocab=VOCAB)
    path = write(tmp_path, ["a"], [1], pa.int64())
    with pytest.raises(DataError, match="sid is a column of int64"):
        read_given_ids(path, ("a",), vocab=VOCAB)
