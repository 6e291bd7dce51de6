"""The synthetic corpus is what its description says, and the same everywhere."""

import hashlib
import itertools
import json
import statistics
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq

from onerec.data.source.read import rows as valid_rows
from onerec.vocab import ITEMIC_PATTERN
from tests.benchmarks.corpus import corpus_rows, write_corpus

DIGEST_OF_FIRST_ROWS = "78c45087b2782f748961c758cdcb6d9aad716e768d80b028d26ff26b3db60436"


def first(count, seed=0):
    return list(itertools.islice(corpus_rows(seed), count))


def texts(row):
    return [segment["text"] for segment in json.loads(row["segments"])]


def test_the_first_rows_of_seed_0_are_the_same_on_every_machine():
    text = json.dumps(first(200), ensure_ascii=True, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == DIGEST_OF_FIRST_ROWS


def test_another_seed_gives_other_rows():
    assert not {row["uuid"] for row in first(50)} & {row["uuid"] for row in first(50, seed=1)}


def test_rows_do_not_depend_on_how_many_are_written_or_how_they_are_filed(tmp_path):
    write_corpus(tmp_path / "few", rows=7, seed=3, rows_per_file=3)
    write_corpus(tmp_path / "many", rows=12, seed=3, rows_per_file=12)
    few = [row for path in files(tmp_path / "few") for row in pq.read_table(path).to_pylist()]
    assert [path.name for path in files(tmp_path / "few")] == [
        f"part-0000{number}-of-00003.parquet" for number in range(3)
    ]
    assert [pq.read_metadata(path).num_rows for path in files(tmp_path / "few")] == [3, 3, 1]
    assert few == pq.read_table(files(tmp_path / "many")[0]).to_pylist()[:7] == first(7, seed=3)


def files(folder):
    return [folder / name for name in json.loads((folder / "file_list.json").read_text())]


def test_cells_are_json_text_in_the_columns_of_open_one_rec(tmp_path):
    table = pq.read_table(files(write_corpus(tmp_path / "corpus", rows=3, seed=0))[0])
    assert table.schema.names == ["uuid", "source", "metadata", "messages", "segments"]
    assert set(table.schema.types) == {pa.string()}


def test_every_row_keeps_the_field_rules(tmp_path):
    folder = write_corpus(tmp_path / "corpus", rows=500, seed=0)
    rows = list(valid_rows(str(folder)))
    assert len({row.uuid for row in rows}) == len(rows) == 500


def test_kinds_of_rows_come_in_the_shares_of_the_goals():
    counts = Counter(row["source"].split("_")[0] for row in first(4000))
    shares = {kind: count / 4000 for kind, count in counts.items()}
    assert all(abs(shares[kind] - wanted) < 0.03 for kind, wanted in KINDS.items())
    assert set(shares) == set(KINDS)


KINDS = {"history": 0.4, "general": 0.2, "chat": 0.4}


def test_lengths_of_histories_and_texts_are_those_of_the_goals():
    rows = first(4000)
    items = [row["segments"].count("<|sid_begin|>") for row in rows if row["source"] == "history"]
    words = [len("".join(texts(row)).encode().split()) for row in rows if row["source"] == "general"]
    assert 85 <= statistics.median(items) <= 95
    assert max(items) == 522
    assert 225 <= statistics.median(words) <= 265


def test_itemic_tokens_are_of_3_levels_of_8192():
    tokens = set(ITEMIC_PATTERN.findall(json.dumps(first(2000))))
    codes = {(token[3], int(token[5:-1])) for token in tokens if token.startswith("<s_")}
    assert {level for level, _ in codes} == set("abc")
    assert max(code for _, code in codes) == 8191


def test_chat_has_itemic_tokens_inside_the_prose_of_both_roles_in_two_languages():
    chats = [row for row in first(1000) if row["messages"]]
    assert {row["source"] for row in chats} == {"chat_zh", "chat_en"}
    for row in chats:
        for message in json.loads(row["messages"]):
            assert ("<s_a_" in message["content"]) == (message["role"] != "system")
    roles = Counter(tuple(turn["role"] for turn in json.loads(row["messages"])) for row in chats)
    turn = ("user", "assistant")
    assert set(roles) == {start + turn * turns for turns in (1, 2, 3) for start in ((), ("system",))}
