import numpy as np
import pytest

from onerec.build.ids import clustering, codebook
from onerec.build.ids.balanced import balance, equal_shares
from onerec.build.ids.clustering import cluster
from onerec.build.ids.codebook import means_of, nearest, padded, squared_distances
from onerec.build.ids.seeding import seeds

CENTRES = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], dtype=np.float32)


def points(count, width=4, seed=0):
    return np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)


def rng(seed=5):
    return np.random.default_rng(seed)


def error(crowd, book):
    return squared_distances(crowd, book.centroids_KD, nearest(crowd, book)).mean()


@pytest.mark.parametrize("batch_size", [1000, 10])
def test_clear_clusters_are_found_by_full_steps_and_by_mini_batches(batch_size):
    crowd = np.repeat(CENTRES, 25, axis=0) + points(100, width=2) * 0.1
    found = cluster(crowd, 4, batch_size=batch_size, rng=rng())
    codes = nearest(CENTRES, found)
    assert sorted(codes.tolist()) == [0, 1, 2, 3]
    assert squared_distances(CENTRES, found.centroids_KD, codes).max() < 0.01


def test_mini_batches_come_within_2_percent_of_full_steps():
    crowd = points(4000, width=8) + 3 * points(20, width=8, seed=1)[rng().integers(20, size=4000)]
    full = error(crowd, cluster(crowd, 32, batch_size=4000, rng=rng()))
    mini = error(crowd, cluster(crowd, 32, batch_size=400, rng=rng()))
    assert mini < 1.02 * full


def test_in_mini_batches_a_centroid_is_the_mean_of_all_that_it_has_met():
    crowd, drawn = points(100, width=2), rng()
    met = np.concatenate(
        [crowd[drawn.integers(len(crowd), size=10)] for _ in range(clustering.MAX_STEPS)], dtype=np.float64
    )
    found = clustering._mini_batches(crowd, 50 + points(1, width=2), batch_size=10, rng=rng())
    np.testing.assert_allclose(found[0], met.mean(axis=0), atol=1e-5)


def test_no_more_steps_are_made_once_the_error_stays(monkeypatch):
    monkeypatch.setattr(clustering, "MAX_PASSES", 10**9)
    assert error(CENTRES, cluster(CENTRES, 2, batch_size=10, rng=rng())) == 25.0


@pytest.mark.parametrize("chunk", [1, 50, 10**6])
def test_the_nearest_centroid_does_not_depend_on_the_chunk(monkeypatch, chunk):
    monkeypatch.setattr(codebook, "CHUNK_DISTANCES", chunk)
    crowd, centres = points(40), points(7, seed=1)
    exact = np.sum((crowd[:, None] - centres) ** 2, axis=2)
    codes = nearest(crowd, padded(centres, 7))
    assert codes.tolist() == exact.argmin(axis=1).tolist()
    np.testing.assert_allclose(squared_distances(crowd, centres, codes), exact.min(axis=1), rtol=1e-5)


def test_codes_beyond_the_points_are_never_the_nearest():
    found = cluster(points(3), 8, batch_size=10, rng=rng())
    assert found.is_used_K.tolist() == [True] * 3 + [False] * 5
    assert nearest(points(50, seed=2), found).max() < 3


def test_means_are_of_each_codes_points_and_zero_for_a_code_without():
    means, counts = means_of(CENTRES, np.array([2, 2, 0, 0]), 3)
    assert counts.tolist() == [2, 0, 2]
    assert means.tolist() == [[5, 10], [0, 0], [5, 0]]


def test_a_centroid_without_points_moves_to_the_point_that_lies_farthest_off():
    crowd = np.array([[0, 0], [1, 0], [9, 0]], dtype=np.float32)
    codes, centres = np.array([0, 0, 0]), np.array([[0, 0], [99, 99]], dtype=np.float32)
    moved = clustering._moved(crowd, codes, squared_distances(crowd, centres, codes), centres)
    np.testing.assert_allclose(moved, [[10 / 3, 0], [9, 0]], rtol=1e-6)


def test_seeds_are_points_and_no_point_twice_while_there_are_others():
    crowd = np.repeat(CENTRES, 3, axis=0)
    assert sorted(seeds(crowd, 4, rng=rng()).tolist()) == sorted(CENTRES.tolist())


def test_the_next_seed_is_one_of_a_few_drawn_by_squared_distance():
    """Of points at 0, 1 and 3 with 0 drawn first, 1 leaves 4, 3 leaves 1: 1 wins if both draws are 1."""
    line = np.array([[0.0], [1.0], [3.0]], dtype=np.float32)
    drawn = [seeds(line, 2, rng=rng(seed)).ravel().tolist() for seed in range(3000)]
    second = [two for one, two in drawn if one == 0.0]
    assert second.count(1.0) / len(second) == pytest.approx(0.1**2, abs=0.008)


def test_seeds_of_points_that_are_all_alike_are_that_point():
    assert seeds(np.ones((3, 2), dtype=np.float32), 3, rng=rng()).tolist() == [[1, 1]] * 3


def crowded(count=600):
    """A heap that has most of the points, and a wide field around it."""
    heap, field = points(2 * count // 3, width=2) * 0.01, points(count - 2 * count // 3, width=2, seed=1) * 3
    return np.concatenate([heap, field])


def test_balanced_codes_are_in_the_middle_of_equal_shares():
    crowd = crowded()
    plain = cluster(crowd, 12, batch_size=1000, rng=rng())
    found = balance(crowd, plain, batch_size=1000, rng=rng())
    shared = equal_shares(crowd, found, nearest(crowd, found))
    assert np.bincount(shared.codes_N).tolist() == [50] * 12
    means, _ = means_of(crowd, shared.codes_N, 12)
    assert np.abs(means - found.centroids_KD).max() < 0.2
    by_plain = equal_shares(crowd, plain, nearest(crowd, plain)).codes_N
    before = squared_distances(crowd, plain.centroids_KD, by_plain).mean()
    assert squared_distances(crowd, found.centroids_KD, shared.codes_N).mean() < before / 2


def test_equal_shares_of_points_that_are_all_alike_are_filled_one_code_after_the_other():
    heap = np.zeros((40, 2), dtype=np.float32)
    book = padded(np.arange(40, dtype=np.float32).reshape(20, 2), 20)
    shared = equal_shares(heap, book, np.zeros(40, dtype=np.int64))
    assert shared.codes_N.tolist() == np.repeat(np.arange(20), 2).tolist()
    assert shared.is_moved_N.tolist() == [False] * 2 + [True] * 38


def test_of_those_who_ask_a_code_takes_the_closest_and_the_others_ask_the_next():
    line = np.array([[0.1], [0.2], [0.3], [9.0]], dtype=np.float32)
    book = padded(np.array([[0.0], [9.0]], dtype=np.float32), 2)
    shared = equal_shares(line, book, nearest(line, book))
    assert shared.codes_N.tolist() == [0, 0, 1, 1]
    assert shared.is_moved_N.tolist() == [False, False, True, False]


def test_unused_codes_are_taken_only_when_the_others_are_full():
    shared = equal_shares(CENTRES, padded(CENTRES[:2], 4), np.array([0, 0, 0, 0]))
    assert sorted(shared.codes_N.tolist()) == [0, 1, 2, 3]
