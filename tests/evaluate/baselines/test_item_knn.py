from dataclasses import replace

import numpy as np
import pytest

from onerec.evaluate.baselines import item_knn
from onerec.evaluate.baselines.item_knn import DEFAULT, Settings, fit_item_knn, neighbours_of
from onerec.evaluate.histories import histories_of
from tests.evaluate.baselines.worlds import circle

# users of item 0: a b c; 1: a b; 2: c d; 3: d; the 3 of b is not trained on
FOUR = histories_of(
    [("a", [0, 1], 2, None, None), ("b", [1, 0, 0, 3], 3, None, 3), ("c", [0, 2], 2, None, None),
     ("d", [2, 3], 2, None, None)],
    num_items=5,
)  # fmt: skip


def likeness(model):
    found = np.zeros((5, 5))
    np.put_along_axis(found, model.neighbours_NK.astype(int), model.likeness_NK.astype(float), axis=1)
    return found


@pytest.mark.parametrize("shrink", [0.0, 10.0])
def test_likeness_is_the_cosine_over_sets_of_users_with_shrinkage(shrink):
    found = likeness(neighbours_of(FOUR, shrink=shrink, most=5))
    wanted = np.zeros((5, 5))
    wanted[0, 1] = wanted[1, 0] = 2 / (np.sqrt(3 * 2) + shrink)
    wanted[0, 2] = wanted[2, 0] = 1 / (np.sqrt(3 * 2) + shrink)
    wanted[2, 3] = wanted[3, 2] = 1 / (np.sqrt(2 * 1) + shrink)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_only_the_best_neighbours_are_kept_best_first():
    model = neighbours_of(FOUR, shrink=0.0, most=1)
    assert model.neighbours_NK[:4].tolist() == [[1], [0], [3], [2]]


def test_scores_are_sums_over_the_recent_items_each_weighing_less_than_the_next():
    fitted = neighbours_of(FOUR, shrink=0.0, most=5)
    model = replace(fitted, settings=Settings(neighbours=5, shrink=0.0, recent=2, decay=0.5))
    scores = model.scores([np.array([0, 1, 3]), np.array([2])])
    by_hand = 0.5 * likeness(fitted)[1] + likeness(fitted)[3]
    np.testing.assert_allclose(scores, [by_hand, likeness(fitted)[2]], rtol=1e-6)


@pytest.mark.parametrize(("cells", "pairs"), [(1, 1), (10, 3), (10**6, 10**6)])
def test_chunks_change_nothing(monkeypatch, cells, pairs):
    whole = neighbours_of(circle(length=5), shrink=1.0, most=8)
    monkeypatch.setattr(item_knn, "CHUNK_CELLS", cells)
    monkeypatch.setattr(item_knn, "CHUNK_PAIRS", pairs)
    model = neighbours_of(circle(length=5), shrink=1.0, most=8)
    assert model.neighbours_NK.tobytes() == whole.neighbours_NK.tobytes()
    assert model.likeness_NK.tobytes() == whole.likeness_NK.tobytes()


def test_settings_are_chosen_by_the_validation_targets():
    model = fit_item_knn(circle(num_items=40, num_users=200), seed=1)
    assert model.settings.recent == 5  # what was seen long ago leads backwards
    assert "recall@10 1.0000" in model.told[0]


def test_without_validation_targets_the_default_settings_are_taken():
    model = fit_item_knn(FOUR, seed=1)
    assert model.settings == DEFAULT
    assert "no validation targets" in model.told[0]
