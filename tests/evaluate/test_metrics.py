import math

import numpy as np
import pytest
import torch

from onerec.evaluate import metrics

torchmetrics = pytest.importorskip("torchmetrics", reason="an independent library to compare with")
RANKS = np.array([1, 3, 0, 11, 10, 2])


def test_metrics_of_six_users_are_those_counted_by_hand():
    assert metrics.recall(RANKS, 10).tolist() == [1, 1, 0, 0, 1, 1]
    assert metrics.recall(RANKS, 1).tolist() == [1, 0, 0, 0, 0, 0]
    expected = [1, 1 / math.log2(4), 0, 0, 1 / math.log2(11), 1 / math.log2(3)]
    assert metrics.ndcg(RANKS, 10).tolist() == pytest.approx(expected)
    assert metrics.reciprocal_rank(RANKS).tolist() == pytest.approx([1, 1 / 3, 0, 1 / 11, 1 / 10, 1 / 2])
    assert metrics.coverage([[0, 1], [1, 2], [1]], 1, num_items=10) == 0.2
    assert metrics.coverage([[0, 1], [1, 2], [1]], 2, num_items=10) == 0.3


def random_scores(users, items, seed):
    drawn = np.random.default_rng(seed)
    return drawn.random((users, items)).astype(np.float32), drawn.integers(items, size=users)


@pytest.mark.parametrize("k", [1, 5, 10, 50])
def test_they_are_those_of_torchmetrics(k):
    from torchmetrics.functional import retrieval

    scores, targets = random_scores(40, 50, seed=k)
    ranks = 1 + (scores > scores[np.arange(40), targets][:, None]).sum(axis=1)
    relevant = torch.zeros(40, 50, dtype=torch.bool)
    relevant[torch.arange(40), torch.tensor(targets)] = True
    for ours, theirs in (
        (metrics.recall(ranks, k), lambda s, t: retrieval.retrieval_recall(s, t, top_k=k)),
        (metrics.ndcg(ranks, k), lambda s, t: retrieval.retrieval_normalized_dcg(s, t, top_k=k)),
        (metrics.reciprocal_rank(ranks), retrieval.retrieval_reciprocal_rank),
    ):
        expected = [float(theirs(torch.tensor(s), t)) for s, t in zip(scores, relevant, strict=True)]
        assert ours.tolist() == pytest.approx(expected, abs=1e-6)


def test_the_area_under_the_curve_counts_ties_a_half():
    assert metrics.area_under_curve([True, False], [2.0, 1.0]) == 1.0
    assert metrics.area_under_curve([True, False], [1.0, 1.0]) == 0.5
    # pairs: 3>1, 3>2, 2>1, 2=2 a half; of four
    assert metrics.area_under_curve([True, True, False, False], [3, 2, 1, 2]) == 3.5 / 4
    assert metrics.area_under_curve([True, True], [1.0, 2.0]) is None
    assert metrics.area_under_curve([], []) is None


def test_it_is_that_of_torchmetrics():
    from torchmetrics.functional.classification import binary_auroc

    drawn = np.random.default_rng(3)
    scores, labels = np.round(drawn.random(300), 2), drawn.random(300) < 0.3
    expected = float(binary_auroc(torch.tensor(scores), torch.tensor(labels).int(), thresholds=None))
    assert metrics.area_under_curve(labels.tolist(), scores.tolist()) == pytest.approx(expected, abs=1e-6)


def test_an_interval_is_that_of_the_normal_law_where_users_are_many():
    values = np.random.default_rng(1).random(4000) < 0.1
    found = metrics.estimate(values.astype(float), samples=2000, seed=7)
    spread = 1.96 * values.std() / math.sqrt(4000)
    assert found.value == values.mean()
    assert found.low == pytest.approx(values.mean() - spread, abs=spread / 10)
    assert found.high == pytest.approx(values.mean() + spread, abs=spread / 10)


def test_intervals_are_seeded_and_those_of_two_models_are_drawn_alike():
    values = np.random.default_rng(1).random(50)
    assert metrics.estimate(values, samples=300, seed=1) == metrics.estimate(values, samples=300, seed=1)
    assert metrics.estimate(values, samples=300, seed=1) != metrics.estimate(values, samples=300, seed=2)
    shifted = metrics.estimate(values + 1, samples=300, seed=1)
    assert shifted.low == pytest.approx(metrics.estimate(values, samples=300, seed=1).low + 1)


def test_nobody_and_nothing_to_resample_are_told_as_that():
    assert math.isnan(metrics.estimate(np.empty(0), samples=10, seed=0).value)
    assert metrics.estimate(np.array([1.0, 0.0]), samples=0, seed=0) == metrics.Estimate(0.5)


def test_a_statistic_that_is_no_mean_has_an_interval_too():
    labels, scores = np.arange(200) % 2 == 0, np.arange(200) * 1.0

    def statistic(places):
        return metrics.area_under_curve(labels[places], scores[places])

    found = metrics.estimate_of(statistic, 200, samples=200, seed=0)
    assert found.value == statistic(np.arange(200))
    assert found.low < found.value < found.high
    assert metrics.estimate_of(lambda _: None, 5, samples=9, seed=0) is None
