import json
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from onerec.build.data import build_data
from onerec.build.sources import fetch
from onerec.build.sources.find import find
from onerec.build.sources.movielens import ML_100K
from onerec.build.split import split_of
from onerec.config import OUTPUTS, BuildData, BuildDataConfig, Vocab
from onerec.errors import ConfigError, DataError
from onerec.evaluate.histories import read_histories
from onerec.evaluate.questions import read_questions
from onerec.items.item_map import load_item_map
from onerec.vocab import item_text
from tests.build import films
from tests.build.built import ITEM, all_rows, items_of, rows_of, text_of, tree

MOVIELENS = {"source": "movielens-100k", "positive_rating": 4}


def config(output_dir, path, *, codes=8, **data):
    return BuildDataConfig(
        output_dir=str(output_dir),
        seed=11,
        vocab=Vocab(itemic_layer_n=3, vocab_size_per_layer=codes),
        data=BuildData(**(MOVIELENS | {"path": path and str(path)} | data)),
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    files = films.grouplens_files(films.items(60), films.users(25), films.events(25, 60, each=15))
    return films.write(files, tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def built(tmp_path_factory, source):
    output_dir = tmp_path_factory.mktemp("built")
    return output_dir, build_data(config(output_dir, source))


@pytest.fixture(scope="module")
def interactions(source):
    return find(config("unused", source).data, cache_dir=None).interactions


def test_the_summary_tells_what_was_made(built, source, interactions):
    output_dir, summary = built
    told = {key: summary[key] for key in ("origin", "licence", "users", "items", "events", "split")}
    assert told == {
        "origin": str(source),
        "licence": ML_100K.licence,
        "users": 25,
        "items": 60,
        "events": 375,
        "split": {
            "validation": {"users": 25, "too_few_events": 0},
            "test": {"users": 25, "too_few_events": 0},
            "events": {"trained": 325, "asked": 50, "held_out_and_not_asked": 0},
        },
    }
    liked = interactions.ratings_E >= 4
    last_likes = sum(min(8, int(liked[15 * user + 1 : 15 * user + 13].sum())) for user in range(25))
    assert summary["rows"] == {
        "pretrain": {"history": 25, "item_text": 120, "user_profile": 25},
        "sft": {
            "item_description": 57,
            "label_prediction": 200,
            "next_item": 200,
            "typed_next_item": last_likes,
        },
        "validation": {"next_item": 25},
        "test": {"next_item": 25},
        "test_tasks": {
            "item_description": 3,
            "label_prediction": 25,
            "typed_next_item": int(liked[14::15].sum()),
        },
    }
    assert summary["tasks_left_out"] == {"interactive": "events have no queries (columns.query)"}
    assert summary["rows_per_second"] > 0
    json.dumps(summary)
    assert sorted(path.name for path in output_dir.iterdir()) == sorted(
        [*OUTPUTS, "codebooks", "histories.parquet", "items.parquet", "progress.json"]
    )
    progress = json.loads((output_dir / "progress.json").read_bytes())
    assert progress["done"] == progress["total"] == 8


def test_people_are_told_users_splits_ids_rows_and_what_is_left_out(built):
    report = "\n".join(built[1]["report"])
    for told in (
        "25 users, 60 items, 375 events from",
        ML_100K.licence,
        "test: 25 users have a target",
        "325 events are trained on, 50 are asked for, 0 are held out and not asked for",
        "colliding items",
        "sft: ",
        "no rows of interactive: events have no queries (columns.query)",
    ):
        assert told in report


def test_items_have_ids_of_their_own_and_their_training_popularity(built, interactions):
    output_dir, _ = built
    table = items_of(output_dir)
    split = split_of(interactions, config("unused", None).data)
    assert [row["pid"] for row in table] == [item.pid for item in interactions.items]
    assert [row["title"] for row in table] == [item.title for item in interactions.items]
    assert [tuple(row["categories"]) for row in table] == [item.categories for item in interactions.items]
    assert [row["sid_text"] for row in table] == [item_text(tuple(row["sid"])) for row in table]
    assert len({row["sid_text"] for row in table}) == 60
    assert [row["train_popularity"] for row in table] == split.popularity(interactions).tolist()


def test_the_items_tell_how_they_are_asked_for(built):
    about = load_item_map(built[0] / "items.parquet").about
    assert about == {
        "itemic_layer_n": 3,
        "vocab_size_per_layer": 8,
        "question": "A user watched these films, oldest first: {history}\nWhich film comes next?",
        "history_length": 50,
    }


def test_every_itemic_text_in_the_rows_is_an_item(built):
    output_dir, _ = built
    known = {row["sid_text"] for row in items_of(output_dir)}
    for row in all_rows(output_dir):
        assert ITEM.findall(text_of(row))
        assert set(ITEM.findall(text_of(row))) <= known


def test_histories_say_what_is_held_out_and_end_with_it(built, interactions):
    histories = read_histories(built[0] / "histories.parquet", num_items=60)
    assert histories.uids == tuple(user.uid for user in interactions.users)
    assert np.array_equal(histories.items_E, interactions.items_E)
    assert (histories.train_lengths_U == 13).all()
    assert (histories.validation_U == 13).all()
    assert (histories.test_U == 14).all()


def test_histories_of_a_split_by_time_end_with_the_test_target(tmp_path, source, interactions):
    summary = build_data(config(tmp_path, source, split="time", test_share=0.3, validation_share=0.2))
    histories = read_histories(tmp_path / "histories.parquet", num_items=60)
    for user in range(25):
        items = histories.items(user)
        assert np.array_equal(items, interactions.history(user)[: len(items)])
        assert len(items) == max(
            histories.train_lengths_U[user], histories.validation_U[user] + 1, histories.test_U[user] + 1
        )
    told = summary["split"]
    assert (
        told["events"]["held_out_and_not_asked"] == 375 - told["events"]["trained"] - told["events"]["asked"]
    )
    assert sum(told["test"].values()) == sum(told["validation"].values()) == 25
    assert any("the first event from 1997-11-20 " in line for line in summary["report"])


@pytest.mark.parametrize("name", ["validation", "test"])
def test_the_evaluation_finds_a_question_for_every_user_with_a_target(built, name):
    output_dir, _ = built
    items = load_item_map(output_dir / "items.parquet")
    histories = read_histories(output_dir / "histories.parquet", num_items=len(items))
    questions = read_questions(output_dir / name, histories, items, split=name)
    assert [question.user for question in questions] == histories.targeted_users(name).tolist()
    assert [question.target for question in questions] == histories.targets(name).tolist()


def test_the_same_seed_gives_the_same_bytes_again_and_replaces_half_written_sets(tmp_path, built, source):
    output_dir, _ = built
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "part-00000-of-00099.parquet").write_text("of a killed run")
    (tmp_path / ".pretrain.tmp").mkdir()
    build_data(config(tmp_path, source))
    assert tree(tmp_path) == tree(output_dir)


def test_a_template_of_ones_own_is_what_rows_say(tmp_path, source):
    path = tmp_path / "own.toml"
    path.write_text('[fr]\nnext_item = ["Après {history} ?"]\n', encoding="utf-8")
    build_data(config(tmp_path / "out", source, templates=str(path), languages=("fr",), tasks=("next_item",)))
    questions = {
        ITEM.sub("", json.loads(row["messages"])[0]["content"]) for row in all_rows(tmp_path / "out")
    }
    assert questions == {"Après  ?"}


def test_templates_with_a_fault_are_told_before_anything_is_looked_for(tmp_path):
    given = config(tmp_path / "out", tmp_path / "nowhere", templates=str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read"):
        build_data(given)


def test_the_licence_is_told_before_the_work_begins(tmp_path, source, capsys):
    with pytest.raises(ConfigError, match="60 items do not fit"):
        build_data(config(tmp_path, source, codes=2))
    assert "not to be redistributed" in capsys.readouterr().out


def test_movielens_100k_itself_is_found_built_and_told_in_seconds(tmp_path):
    cache_dir = fetch.cache_dir_of_this_process()
    try:
        fetch.find(ML_100K, None, cache_dir=cache_dir, download=True)
    except DataError as nowhere:
        pytest.skip(str(nowhere))
    began = time.process_time()
    summary = build_data(config(tmp_path, cache_dir / ML_100K.name, codes=256, languages=("en",)))
    seconds = time.process_time() - began
    assert (summary["users"], summary["items"], summary["events"]) == (943, 1682, 100_000)
    assert summary["rows"]["test"] == summary["rows"]["validation"] == {"next_item": 943}
    histories = [row for row in rows_of(tmp_path / "pretrain") if row["source"] == "history"]
    assert sum(len(ITEM.findall(text_of(row))) for row in histories) == 100_000 - 2 * 943
    assert pq.read_metadata(tmp_path / "histories.parquet").num_rows == 943
    assert seconds < 30
