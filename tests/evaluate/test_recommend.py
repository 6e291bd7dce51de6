import json
import shutil

import pytest

from onerec.config import RecommendConfig
from onerec.errors import ConfigError
from onerec.evaluate import recommend as program
from onerec.evaluate.recommend import recommend
from onerec.items.item_map import ITEMS_NAME
from tests.evaluate import built
from tests.evaluate.test_program import scores_of_all_items


@pytest.fixture(scope="module")
def model(tiny_programme, tmp_path_factory):
    folder = shutil.copytree(built.model_of(tiny_programme), tmp_path_factory.mktemp("shipped") / "model")
    built.write_items(folder / ITEMS_NAME, about=built.ABOUT)
    return folder


def config(model, output_dir, *histories, **changes):
    options = {"top_k": 5, "num_beams": 40, "device": "cpu", **changes}
    return RecommendConfig(output_dir=str(output_dir), model_dir=str(model), histories=histories, **options)


@pytest.mark.parametrize("few_users", [0, 2], ids=["in torch", "without torch"])
def test_a_user_gets_the_best_items_that_are_new(model, tmp_path, few_users, monkeypatch):
    monkeypatch.setattr(program, "FEW_USERS", few_users)
    document = recommend(config(model, tmp_path, ("p1", "p7"), ("p3",)))
    assert json.loads((tmp_path / "recommendations.json").read_text()) == document
    for user, history in zip(document["users"], ([1, 7], [3]), strict=True):
        scores = scores_of_all_items(model, built.QUESTION.format(history=built.spelled(history)))
        best = sorted(set(range(40)) - set(history), key=lambda item: -scores[item])[:5]
        assert [item["pid"] for item in user["items"]] == [f"p{item}" for item in best]
        assert [item["title"] for item in user["items"]] == [f"Title {item}" for item in best]
        assert [item["rank"] for item in user["items"]] == [1, 2, 3, 4, 5]
        assert [item["score"] for item in user["items"]] == pytest.approx(
            [scores[item] for item in best], abs=1e-4
        )
    assert "answered in" in document["report"][-1]


def test_only_the_newest_items_are_asked_with_and_all_are_excluded(model, tmp_path):
    history = tuple(f"p{item}" for item in range(9))
    [user] = recommend(config(model, tmp_path, history, top_k=31))["users"]
    scores = scores_of_all_items(model, built.QUESTION.format(history=built.spelled(range(4, 9))))
    assert [item["pid"] for item in user["items"]] == [
        f"p{item}" for item in sorted(range(9, 40), key=lambda item: -scores[item])
    ]
    [user] = recommend(config(model, tmp_path, history, top_k=40, exclude_history=False))["users"]
    assert len(user["items"]) == 40


def test_a_user_without_a_history_is_answered_too(model, tmp_path):
    [user] = recommend(config(model, tmp_path, ()))["users"]
    assert len(user["items"]) == 5


def test_wrong_calls_are_told(model, tiny_programme, tmp_path):
    with pytest.raises(ConfigError, match=r"no item 'p77' among the 40 items of the model; did you mean"):
        recommend(config(model, tmp_path, ("p77",)))
    with pytest.raises(ConfigError, match="has no item map; convert it anew"):
        recommend(config(built.model_of(tiny_programme), tmp_path, ("p1",)))
    with pytest.raises(ConfigError, match="top_k 41 is more than num_beams 40"):
        recommend(config(model, tmp_path, ("p1",), top_k=41))
    with pytest.raises(ConfigError, match=r"has no \{history\}; say where the items go"):
        recommend(config(model, tmp_path, ("p1",), question="what next?"))
