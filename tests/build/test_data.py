import json
import re
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from onerec.build import fetch, movielens
from onerec.build.data import build_data
from onerec.build.interactions import split_last
from onerec.config import BuildData, BuildDataConfig, Vocab
from onerec.errors import ConfigError, DataError
from onerec.vocab import item_text
from tests.build import films

ITEM = re.compile(r"<\|sid_begin\|>.*?<\|sid_end\|>")


def config(output_dir, path, *, codes=8, **data):
    return BuildDataConfig(
        output_dir=str(output_dir),
        seed=11,
        vocab=Vocab(itemic_layer_n=3, vocab_size_per_layer=codes),
        data=BuildData(source="movielens-100k", path=path and str(path), **data),
    )


def rows_of(folder: Path):
    listed = json.loads((folder / "file_list.json").read_text(encoding="utf-8"))
    return [row for name in listed for row in pq.read_table(folder / name).to_pylist()]


def text_of(row):
    return row["messages"] or row["segments"]


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "progress.json"
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    files = films.grouplens_files(films.items(60), films.users(25), films.events(25, 60, each=15))
    return films.write(files, tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def built(tmp_path_factory, source):
    output_dir = tmp_path_factory.mktemp("built")
    return output_dir, build_data(config(output_dir, source))


def check_no_leak(output_dir, interactions):
    """No training row of a user holds, or asks for, the item that is held out from that user."""
    table = pq.read_table(output_dir / "items.parquet").to_pylist()
    spelled = {row["pid"]: row["sid_text"] for row in table}
    split = split_last(interactions.histories)
    heldout = {
        user.uid: interactions.items[item].pid
        for user, item in zip(interactions.users, split.heldout, strict=True)
    }
    checked = 0
    for row in rows_of(output_dir / "pretrain") + rows_of(output_dir / "sft"):
        metadata = json.loads(row["metadata"])
        if "user" in metadata:
            checked += 1
            assert spelled[heldout[metadata["user"]]] not in ITEM.findall(text_of(row))
            assert metadata.get("target_pid") != heldout[metadata["user"]]
    tested = [json.loads(row["metadata"]) for row in rows_of(output_dir / "test")]
    assert {row["user"]: row["target_pid"] for row in tested} == heldout
    return checked


def test_the_summary_tells_what_was_made(built, source):
    output_dir, summary = built
    told = {key: summary[key] for key in ("origin", "licence", "users", "items", "events")}
    assert told == {
        "origin": str(source),
        "licence": movielens.LICENCE,
        "users": 25,
        "items": 60,
        "events": 375,
    }
    assert summary["rows"] == {
        "pretrain": {"history": 25, "item_text": 120, "user_profile": 25},
        "sft": {"item_description": 60, "next_item": 200},
        "test": {"next_item": 25},
    }
    assert any("colliding items" in line for line in summary["report"])
    json.dumps(summary)
    assert sorted(path.name for path in output_dir.iterdir()) == [
        "items.parquet",
        "pretrain",
        "progress.json",
        "sft",
        "test",
    ]


def test_items_have_ids_of_their_own_and_their_training_popularity(built, source):
    output_dir, summary = built
    table = pq.read_table(output_dir / "items.parquet").to_pylist()
    interactions = movielens.parse(fetch.read_files(source))
    popularity = split_last(interactions.histories).popularity(60)
    assert [row["pid"] for row in table] == [item.pid for item in interactions.items]
    assert [row["sid_text"] for row in table] == [item_text(tuple(row["sid"])) for row in table]
    assert len({row["sid_text"] for row in table}) == 60
    assert [row["train_popularity"] for row in table] == popularity
    assert summary["semantic_ids"]["collisions_after"] == 0


def test_every_itemic_text_in_the_rows_is_an_item(built):
    output_dir, _ = built
    known = {row["sid_text"] for row in pq.read_table(output_dir / "items.parquet").to_pylist()}
    for name in ("pretrain", "sft", "test"):
        for row in rows_of(output_dir / name):
            assert ITEM.findall(text_of(row))
            assert set(ITEM.findall(text_of(row))) <= known


def test_no_held_out_event_is_in_a_training_row(built, source):
    output_dir, _ = built
    assert check_no_leak(output_dir, movielens.parse(fetch.read_files(source))) == 25 + 25 + 200


def test_other_last_events_change_the_test_set_and_nothing_else(tmp_path, built, source):
    """So neither ids nor rows for training can know what is held out."""
    output_dir, _ = built
    interactions = movielens.parse(fetch.read_files(source))
    lines = (source / "u.data").read_text().splitlines()
    for user, history in zip(interactions.users, interactions.histories, strict=True):
        last = interactions.items[history[-1]].pid
        unseen = next(item.pid for n, item in enumerate(interactions.items) if n not in history)
        lines = [
            f"{user.uid}\t{unseen}\t4\t999999999" if line.startswith(f"{user.uid}\t{last}\t") else line
            for line in lines
        ]
    changed = films.write(fetch.read_files(source), tmp_path / "changed")
    (changed / "u.data").write_text("\n".join(lines) + "\n")
    build_data(config(tmp_path / "out", changed))
    before, after = tree(output_dir), tree(tmp_path / "out")
    assert {name for name in before if before[name] != after[name]} == {"test/part-00000-of-00001.parquet"}


def test_the_same_seed_gives_the_same_bytes_again_and_replaces_half_written_sets(tmp_path, built, source):
    output_dir, _ = built
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "part-00000-of-00099.parquet").write_text("of a killed run")
    (tmp_path / ".pretrain.tmp").mkdir()
    build_data(config(tmp_path, source))
    assert tree(tmp_path) == tree(output_dir)


def test_the_licence_is_told_before_the_work_begins(tmp_path, source, capsys):
    with pytest.raises(ConfigError, match="60 items do not fit"):
        build_data(config(tmp_path, source, codes=2))
    assert "not to be redistributed" in capsys.readouterr().out


def test_movielens_100k_itself_is_found_built_and_split_without_a_leak(tmp_path):
    cache_dir = fetch.cache_dir_of_this_process()
    try:
        found = fetch.find(None, cache_dir=cache_dir, download=True)
    except DataError as nowhere:
        pytest.skip(str(nowhere))
    began = time.process_time()
    summary = build_data(config(tmp_path, cache_dir / "movielens-100k", codes=256))
    seconds = time.process_time() - began
    assert (summary["users"], summary["items"], summary["events"]) == (943, 1682, 100_000)
    assert summary["rows"]["test"] == {"next_item": 943}
    assert check_no_leak(tmp_path, found.interactions) == 977 + 943 + 8 * 943
    histories = [row for row in rows_of(tmp_path / "pretrain") if row["source"] == "history"]
    assert sum(len(ITEM.findall(text_of(row))) for row in histories) == 100_000 - 943
    assert seconds < 15
