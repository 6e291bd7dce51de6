import numpy as np
import pytest

from onerec.config import Evaluation
from onerec.evaluate.ranking import best_items, difference, headline_k, ranked, row_of, segment_rows
from onerec.evaluate.segments import Segment

SETTINGS = Evaluation(top_k=(1, 3), num_beams=3, bootstrap_samples=0)
LISTS = [[4, 2, 0], [1, 2, 3], [0]]


def told(value):
    return {"value": value, "low": None, "high": None}


def result(model="ours", lists=None, targets=(2, 1, 5), *, is_baseline=False):
    return ranked(model, lists or LISTS, targets, is_baseline=is_baseline, seconds=0.5)


def test_ranks_count_from_one_and_a_target_that_is_not_in_the_list_has_none():
    assert result().ranks_U.tolist() == [2, 1, 0]


def test_the_row_of_a_model_is_that_counted_by_hand():
    gain = 1 / np.log2(3)
    assert row_of(result(), settings=SETTINGS, num_items=10, seed=1) == {
        "model": "ours",
        "is_baseline": False,
        "recall@1": told(1 / 3),
        "ndcg@1": told(1 / 3),
        "recall@3": told(2 / 3),
        "ndcg@3": told(pytest.approx((gain + 1) / 3)),
        "mrr": told(0.5),
        "coverage@1": told(0.3),  # 4, 1, 0
        "coverage@3": told(0.5),  # 0 to 4
        "seconds": 0.5,
    }


def test_models_are_compared_user_by_user():
    swapped = result("other", [[2, 4], [2, 1], [5]])
    found = difference(swapped, result(), settings=SETTINGS, seed=1)
    assert found["recall@1"] == told(pytest.approx((-1 + 1 - 1) / 3))
    assert found["recall@3"] == told(pytest.approx((0 + 0 - 1) / 3))
    sampled = SETTINGS.model_copy(update={"bootstrap_samples": 100})
    same = difference(result("again"), result(), settings=sampled, seed=1)
    assert same["mrr"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_segments_are_measured_for_every_model_on_their_users_alone():
    segments = [Segment("length", "short", np.array([True, False, True]))]
    results = [result(), result("popularity", [[2], [1], [5]], is_baseline=True)]
    rows = segment_rows(results, segments, settings=SETTINGS, seed=1)
    assert [(row["model"], row["users"], row["recall@3"]["value"]) for row in rows] == [
        ("ours", 2, 0.5),
        ("popularity", 2, 1.0),
    ]


@pytest.mark.parametrize(("top_k", "k"), [((5, 10, 20), 10), ((3, 7), 7), ((20, 30), 20), ((20, 5), 5)])
def test_models_are_compared_by_ten_items_or_what_is_nearest(top_k, k):
    assert headline_k(Evaluation(top_k=top_k)) == k


def test_the_best_items_stand_by_score_then_number_and_the_excluded_never():
    scores = np.array([[1, 3, 3, -2], [0, 0, 0, 0]], dtype=np.float32)
    assert best_items(scores, None, most=3) == [[1, 2, 0], [0, 1, 2]]
    assert best_items(scores, [[1], [0, 2, 3]], most=3) == [[2, 0, 3], [1]]
    assert scores.tolist() == [[1, 3, 3, -2], [0, 0, 0, 0]]
