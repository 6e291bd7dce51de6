"""The whole evaluation of a small model, against a loop that asks transformers user by user."""

import json
import math
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from onerec.config import EvaluateConfig, Evaluation
from onerec.errors import ConfigError, DataError
from onerec.evaluate.program import evaluate
from onerec.items.item_map import ITEMS_NAME
from onerec.vocab import ItemicVocab
from tests.evaluate import built

SETTINGS = {"top_k": (3, 10), "num_beams": 12, "free_beams": 4, "bootstrap_samples": 50, "max_new_tokens": 8}


def config(built_dir, model_dir, output_dir, *, models=None, **changes):
    kept = {key: changes.pop(key) for key in ("split", "seed", "add_think_pattern", "main") if key in changes}
    return EvaluateConfig(
        output_dir=str(output_dir),
        seed=kept.pop("seed", 3),
        models=models or {"ours": str(model_dir)},
        built_dir=str(built_dir),
        evaluation=Evaluation(**{**SETTINGS, **changes}),
        device="cpu",
        **kept,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return built.make(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def model(tiny_programme):
    return built.model_of(tiny_programme)


@pytest.fixture(scope="module")
def evaluated(data, model, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("evaluated")
    baselines = ("popularity", "item_knn")
    return output_dir, evaluate(config(data, model, output_dir, baselines=baselines))


def scores_of_all_items(model_dir, question):
    """Each item's log-probability after the question, the template applied and its ids counted by hand."""
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    lm = AutoModelForCausalLM.from_pretrained(model_dir).eval()
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}, {"role": "assistant", "content": "ANSWER"}], tokenize=False
    )
    first = json.loads((model_dir / "onerec_vocab.json").read_text())["first_id"]
    vocab = ItemicVocab(3, 8, first)
    prompt = [
        *tokenizer(text[: text.index("ANSWER")], add_special_tokens=False)["input_ids"],
        vocab.begin_id,
    ]
    rows = [[vocab.id_of(level, code) for level, code in enumerate(item)] for item in built.codes()]
    with torch.no_grad():
        log_probs = lm(torch.tensor([prompt + row for row in rows])).logits.log_softmax(-1)
    at = len(prompt) - 1
    return [
        sum(float(log_probs[i, at + n, token]) for n, token in enumerate(row)) for i, row in enumerate(rows)
    ]


def test_ranks_are_those_of_scoring_every_item_without_the_history(data, model, tmp_path):
    evaluate(config(data, model, tmp_path, num_beams=40, free_beams=0, max_descriptions=0))
    ranks = pq.read_table(tmp_path / "ranks.parquet").to_pylist()
    asked = [row for row in built.histories() if row[4] is not None]
    assert [row["uid"] for row in ranks] == [uid for uid, *_ in asked]
    for row, (_, items, _, _, at) in list(zip(ranks, asked, strict=True))[:4]:
        scores = scores_of_all_items(model, built.QUESTION.format(history=built.spelled(items[:at][-5:])))
        best = sorted(set(range(40)) - set(items[:at]), key=lambda item: -scores[item])
        assert row["pids"] == [f"p{item}" for item in best]
        assert row["rank"] == best.index(items[at]) + 1
        assert row["target_pid"] == f"p{items[at]}"


def test_the_table_is_that_of_the_ranks(evaluated):
    output_dir, document = evaluated
    assert [(row["model"], row["is_baseline"]) for row in document["table"]] == [
        ("ours", False),
        ("popularity", True),
        ("item_knn", True),
    ]
    stored = pq.read_table(output_dir / "ranks.parquet").to_pylist()
    for row in document["table"]:
        own = [found for found in stored if found["model"] == row["model"]]
        ranks = [found["rank"] or 0 for found in own]
        for k in (3, 10):
            hits = [0 < rank <= k for rank in ranks]
            gains = [1 / math.log2(1 + rank) if hit else 0 for rank, hit in zip(ranks, hits, strict=True)]
            told = {pid for found in own for pid in found["pids"][:k]}
            assert row[f"recall@{k}"]["value"] == pytest.approx(np.mean(hits))
            assert row[f"ndcg@{k}"]["value"] == pytest.approx(np.mean(gains))
            assert row[f"coverage@{k}"]["value"] == len(told) / 40
            assert row[f"recall@{k}"]["low"] <= row[f"recall@{k}"]["value"] <= row[f"recall@{k}"]["high"]
        assert row["mrr"]["value"] == pytest.approx(np.mean([1 / rank if rank else 0 for rank in ranks]))


def test_popularity_names_the_most_popular_items_that_a_user_has_not_met(evaluated):
    output_dir, _ = evaluated
    popularity = np.zeros(40, dtype=int)
    for _, items, length, *_ in built.histories():
        np.add.at(popularity, items[:length], 1)
    own = [r for r in pq.read_table(output_dir / "ranks.parquet").to_pylist() if r["model"] == "popularity"]
    for row, (_, items, _, _, at) in zip(own, built.histories(), strict=False):
        left = [item for item in np.argsort(-popularity, kind="stable").tolist() if item not in items[:at]]
        assert row["pids"] == [f"p{item}" for item in left[:12]]


def test_no_user_is_dropped(evaluated):
    _, document = evaluated
    assert document["counts"] == {
        "users": 13,
        "asked": 12,
        "left_out_by_max_users": 0,
        "without_held_out_event": 1,
        "targets_met_before": 0,
        "items": 40,
    }
    for by in ("history length", "popularity of the target"):
        rows = [row for row in document["segments"] if row["by"] == by and row["model"] == "ours"]
        assert sum(row["users"] for row in rows) == 12


def test_the_other_tasks_are_measured_too(evaluated):
    _, document = evaluated
    tasks = document["tasks"]["ours"]
    assert 0 <= tasks["valid_id_rate"]["value"] <= 1
    assert tasks["typed_next_item"]["questions"] == 6
    assert tasks["label_prediction"]["questions"] == 12
    assert tasks["label_prediction"]["positive"] == 4
    assert 0 <= tasks["label_prediction"]["auc"]["value"] <= 1
    assert tasks["item_description"]["questions"] == 3
    assert [example["wanted"] for example in tasks["item_description"]["examples"]] == [
        "Title 0",
        "Title 1",
        "Title 2",
    ]
    told = "\n".join(document["report"])
    for expected in ("popularity (baseline)", "recall@10", "AUC", "ROUGE-L", "valid ids", "12 of 13 users"):
        assert expected in told


def test_the_same_seed_gives_the_same_document(evaluated, data, model, tmp_path):
    again = evaluate(config(data, model, tmp_path, baselines=("popularity", "item_knn")))

    def timeless(document):
        kept = {key: value for key, value in document.items() if key != "seconds"}
        kept["table"] = [{k: v for k, v in row.items() if k != "seconds"} for row in document["table"]]
        return kept

    assert timeless(again) == timeless(evaluated[1])
    stored = json.loads((tmp_path / "evaluation.json").read_text())
    assert timeless(stored) == timeless(again)
    assert stored["versions"]["torch"] == torch.__version__


def test_validation_asks_for_the_event_before(data, model, tmp_path):
    document = evaluate(config(data, model, tmp_path, split="validation"))
    ranks = pq.read_table(tmp_path / "ranks.parquet").to_pylist()
    asked = [row for row in built.histories() if row[3] is not None]
    assert [row["target_pid"] for row in ranks] == [f"p{items[at]}" for _, items, _, at, _ in asked]
    assert set(document["tasks"]["ours"]) == {"valid_id_rate", "valid_beam_rate"}


def test_at_most_so_many_users_are_asked_and_the_rest_is_told(data, model, tmp_path):
    document = evaluate(config(data, model, tmp_path, max_users=5, free_beams=0, max_descriptions=0))
    assert (document["counts"]["asked"], document["counts"]["left_out_by_max_users"]) == (5, 7)


def test_two_models_are_compared_user_by_user(data, model, tmp_path):
    twice = {"ours": str(model), "again": str(model)}
    settings = {"models": twice, "main": "ours", "free_beams": 0, "max_descriptions": 0}
    document = evaluate(config(data, model, tmp_path, **settings))
    assert document["differences"]["again"]["recall@10"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_a_model_with_another_item_map_is_refused(data, model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    built.write_items(folder / ITEMS_NAME, about=built.ABOUT)
    evaluate(config(data, folder, tmp_path / "same", free_beams=0, max_descriptions=0, max_users=1))
    built.write_items(folder / ITEMS_NAME, about=built.ABOUT, order=list(range(39, -1, -1)))
    with pytest.raises(ConfigError, match="is not the item map of"):
        evaluate(config(data, folder, tmp_path / "other"))


def test_what_does_not_belong_together_is_told(data, model, tiny_programme, tmp_path):
    with pytest.raises(ConfigError, match="so no itemic tokens; give the export of a training stage"):
        evaluate(config(data, tiny_programme / "base" / "model", tmp_path))
    folder = shutil.copytree(data, tmp_path / "built")
    shutil.rmtree(folder / "test")
    with pytest.raises(DataError):
        evaluate(config(folder, model, tmp_path))
    shutil.copytree(data / "test_tasks", folder / "test")
    with pytest.raises(DataError, match="asks for no next item"):
        evaluate(config(folder, model, tmp_path))


def test_the_main_model_stands_first_whatever_its_name(data, model, tmp_path):
    models = {"a": str(model), "b": str(model), "c": str(model)}
    settings = {"models": models, "free_beams": 0, "max_descriptions": 0, "max_users": 2}
    document = evaluate(config(data, model, tmp_path, main="b", **settings))
    assert [row["model"] for row in document["table"]] == ["b", "a", "c"]
    assert list(document["differences"]) == ["a", "c"]
    with pytest.raises(ConfigError, match="main names 'd', the models are a, b, c"):
        evaluate(config(data, model, tmp_path, main="d", **settings))
