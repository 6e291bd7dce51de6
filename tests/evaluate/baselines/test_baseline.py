import numpy as np
import pytest

from onerec.evaluate.baselines import baseline, fit_baseline
from onerec.evaluate.baselines.baseline import Quality, Questions, quality
from onerec.evaluate.histories import histories_of
from tests.evaluate.baselines.worlds import circle


class Fixed:
    told = ()

    def __init__(self, scores):
        self.row = np.array(scores, dtype=np.float32)

    def scores(self, histories):
        return np.repeat(self.row[None], len(histories), axis=0)


def questions(histories, targets, *, exclude_history=True):
    return Questions([np.array(h, dtype=np.int32) for h in histories], np.array(targets), exclude_history)


def test_quality_counts_places_without_the_seen_items_and_equal_scores_by_number(monkeypatch):
    monkeypatch.setattr(baseline, "CHOSEN_AT", 2)
    model = Fixed([5.0, 3.0, 3.0, 1.0])
    asked = questions([[0], [0], [], [0], [1]], [1, 2, 2, 3, 1])  # places 0, 1, 2, 2, none: it was seen
    found = quality(model, asked)
    assert found.recall == pytest.approx(2 / 5)
    assert found.ndcg == pytest.approx((1 + 1 / np.log2(3)) / 5)
    kept = quality(model, questions([[0], [1]], [1, 1], exclude_history=False))
    assert kept == Quality(1.0, pytest.approx(1 / np.log2(3)))


def test_quality_of_no_questions_is_zero_and_parts_do_not_matter(monkeypatch):
    assert quality(Fixed([1.0]), questions([], [])) == Quality(0.0, 0.0)
    asked = questions([[0], [1], [2]], [1, 2, 0])
    whole = quality(Fixed([3.0, 2.0, 1.0]), asked)
    monkeypatch.setattr(baseline, "QUESTIONS_AT_A_TIME", 2)
    assert quality(Fixed([3.0, 2.0, 1.0]), asked) == whole


def test_many_validation_targets_are_drawn_by_the_seed(monkeypatch):
    monkeypatch.setattr(baseline, "MAX_QUESTIONS", 10)
    drawn = [Questions.of_validation(circle(), seed=seed, exclude_history=True) for seed in (1, 1, 2)]
    assert [len(one) for one in drawn] == [10, 10, 10]
    assert drawn[0].targets_B.tolist() == drawn[1].targets_B.tolist()
    assert [h.tolist() for h in drawn[0].histories] != [h.tolist() for h in drawn[2].histories]


@pytest.mark.parametrize("name", ["popularity", "item_knn", "sasrec"])
def test_no_test_target_influences_a_fit_and_the_same_seed_gives_the_same_bits(name):
    asked = circle().before("validation")
    first, again, other = (
        fit_baseline(name, histories, seed=3).scores(asked)
        for histories in (circle(), circle(), circle(last=0))
    )
    assert first.dtype == np.float32
    assert first.shape == (60, 8)
    assert first.tobytes() == again.tobytes() == other.tobytes()


@pytest.mark.parametrize("name", ["popularity", "item_knn", "sasrec"])
def test_users_of_one_event_and_items_without_any_do_no_harm(name):
    histories = histories_of([("a", [1], 1, None, None), ("b", [1, 0, 2], 2, None, 2)], num_items=5)
    model = fit_baseline(name, histories, seed=3)
    assert np.isfinite(model.scores(histories.before("test"))).all()
    assert model.scores([]).shape == (0, 5)
    assert model.scores([np.empty(0, dtype=np.int32)]).shape == (1, 5)
    assert all(model.told)


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="none of popularity, item_knn, sasrec"):
        fit_baseline("random", circle(), seed=3)
