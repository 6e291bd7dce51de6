import numpy as np
import pytest
import torch

from onerec.build.ids import codebook
from onerec.build.ids.residual import books_of_ids, coded, residual_kmeans
from onerec.errors import ConfigError


def points(count, width=4, seed=0):
    return np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)


def assign(vectors, *, levels, codes, balanced=False, batch_size=1000, seed=5):
    return residual_kmeans(
        vectors,
        levels=levels,
        codes=codes,
        balanced=balanced,
        batch_size=batch_size,
        rng=np.random.default_rng(seed),
    )


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize(
    ("count", "levels", "codes"),
    [(200, 3, 8), (64, 3, 4), (50, 1, 50), (30, 2, 6), (5, 3, 256), (1, 2, 3), (9, 20, 100)],
)
def test_every_item_gets_an_id_of_its_own(count, levels, codes, balanced):
    found = assign(points(count), levels=levels, codes=codes, balanced=balanced)
    assert found.codes_NL.shape == (count, levels)
    assert ((found.codes_NL >= 0) & (found.codes_NL < codes)).all()
    assert len({tuple(row) for row in found.codes_NL.tolist()}) == count


def test_items_without_any_difference_still_get_ids_of_their_own():
    found = assign(np.zeros((27, 4), dtype=np.float32), levels=3, codes=3)
    assert len({tuple(row) for row in found.codes_NL.tolist()}) == 27
    assert found.errors == (0.0, 0.0, 0.0)


def test_more_items_than_ids_is_an_error_with_the_keys_to_raise():
    with pytest.raises(
        ConfigError, match=r"9 items do not fit .* \(8 ids\); raise vocab\.vocab_size_per_layer"
    ):
        assign(points(9), levels=3, codes=2)


@pytest.mark.parametrize("batch_size", [1000, 50])
def test_the_same_seed_gives_the_same_ids_and_another_seed_others(batch_size):
    first, again, other = (
        assign(points(300), levels=2, codes=32, batch_size=batch_size, seed=seed) for seed in (1, 1, 2)
    )
    assert first.codes_NL.tolist() == again.codes_NL.tolist() != other.codes_NL.tolist()
    assert first.rebuilt_ND.tobytes() == again.rebuilt_ND.tobytes()


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    monkeypatch.setattr(codebook, "CHUNK_DISTANCES", 2000)
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(assign(points(900), levels=2, codes=32, batch_size=100))
    assert found[0].codes_NL.tolist() == found[1].codes_NL.tolist() == found[2].codes_NL.tolist()
    assert found[0].rebuilt_ND.tobytes() == found[1].rebuilt_ND.tobytes() == found[2].rebuilt_ND.tobytes()


def test_a_code_of_a_higher_level_takes_no_more_items_than_there_are_ids_below_it():
    crowd = np.concatenate([np.zeros((7, 2)), np.array([[10.0, 0.0]])]) + points(8, width=2) * 1e-3
    found = assign(crowd.astype(np.float32), levels=3, codes=2)
    assert np.bincount(found.codes_NL[:, 0]).tolist() == [4, 4]
    assert len({tuple(row) for row in found.codes_NL.tolist()}) == 8


def test_only_items_that_were_moved_count_as_collisions():
    twins = np.array([[0, 0], [0, 0], [4, 0], [0, 4]], dtype=np.float32)
    found = assign(twins, levels=1, codes=4)
    assert (found.collisions, found.moved) == (1, (1,))
    assert sorted(found.codes_NL[:, 0].tolist()) == [0, 1, 2, 3]


def test_levels_tell_a_falling_error_which_is_that_of_the_rebuilt_vectors():
    vectors = points(500, width=8)
    found = assign(vectors, levels=3, codes=16)
    assert 1.0 > found.errors[0] > found.errors[1] > found.errors[2] > 0.0
    assert found.moved[:2] == (0, 0)
    by_books = sum(
        book.centroids_KD[codes] for book, codes in zip(found.books, found.codes_NL.T, strict=True)
    )
    np.testing.assert_allclose(found.rebuilt_ND, by_books, atol=1e-5)
    left = np.sum((vectors - found.rebuilt_ND) ** 2) / np.sum(vectors**2)
    assert found.errors[2] == pytest.approx(left, rel=1e-4)


def test_vectors_that_are_sums_of_two_codes_are_found_without_error():
    first, second = 100 * points(5, width=6, seed=1), points(4, width=6, seed=2)
    vectors = (first[:, None] + second - second.mean(axis=0)).reshape(20, 6)
    found = assign(vectors, levels=2, codes=5)
    assert found.errors[1] < 1e-6
    assert len({tuple(codes) for codes in found.codes_NL.reshape(5, 4, 2)[:, :, 0].tolist()}) == 5


def test_balanced_codes_have_nearly_the_same_number_of_items_at_every_level():
    heap = np.concatenate([points(300, width=3) * 0.05, points(100, width=3, seed=1) * 3])
    plain, balanced = (assign(heap, levels=3, codes=32, balanced=choice) for choice in (False, True))
    sizes = [np.bincount(codes, minlength=32) for codes in balanced.codes_NL.T]
    assert max(size.max() for size in sizes[:2]) <= 13  # 400 / 32, rounded up
    assert sizes[2].max() <= 16  # some were moved once more, so that no two are alike
    assert np.bincount(plain.codes_NL[:, 0], minlength=32).max() > 26


def test_new_items_get_the_nearest_id_that_is_not_taken_and_equal_items_different_ones():
    found = assign(points(20, width=2), levels=2, codes=8)
    twins = np.repeat(found.rebuilt_ND[:1], 3, axis=0)
    new = coded(
        twins, lambda level, _: found.books[level], levels=2, codes=8, taken_ML=found.codes_NL
    ).codes_NL
    assert (new[:, 0] == found.codes_NL[0, 0]).all()
    assert len({tuple(row) for row in [*found.codes_NL.tolist(), *new.tolist()]}) == 23


def test_an_id_that_is_left_is_found_again():
    vectors = points(20, width=2)
    found = assign(vectors, levels=2, codes=8)
    unmoved = int(np.flatnonzero(np.abs(vectors - found.rebuilt_ND).sum(axis=1) >= 0)[0])
    others = np.delete(found.codes_NL, unmoved, axis=0)
    again = coded(
        found.rebuilt_ND[[unmoved]], lambda level, _: found.books[level], levels=2, codes=8, taken_ML=others
    )
    assert again.codes_NL.shape == (1, 2)
    assert tuple(again.codes_NL[0]) not in {tuple(row) for row in others.tolist()}


def test_the_ids_that_are_left_are_enough_for_as_many_new_items_and_no_more():
    found = assign(points(10, width=2), levels=2, codes=4)
    books = lambda level, _: found.books[level]  # noqa: E731
    new = coded(points(6, width=2, seed=3), books, levels=2, codes=4, taken_ML=found.codes_NL).codes_NL
    assert len({tuple(row) for row in [*found.codes_NL.tolist(), *new.tolist()]}) == 16
    with pytest.raises(ConfigError, match="17 items do not fit"):
        coded(points(7, width=2), books, levels=2, codes=4, taken_ML=found.codes_NL)


def test_no_new_items_are_no_work():
    found = assign(points(10, width=2), levels=2, codes=4)
    none = coded(points(0, width=2), lambda level, _: found.books[level], levels=2, codes=4)
    assert none.codes_NL.shape == (0, 2)


def test_codebooks_of_given_ids_are_the_means_of_what_their_items_have_in_common():
    vectors = np.array([[0, 0], [0, 2], [8, 0], [8, 4]], dtype=np.float32)
    found = books_of_ids(vectors, np.array([[0, 0], [0, 1], [2, 0], [2, 1]]), codes=3)
    assert found.books[0].centroids_KD.tolist() == [[0, 1], [0, 0], [8, 2]]
    assert found.books[0].is_used_K.tolist() == [True, False, True]
    assert found.books[1].centroids_KD.tolist() == [[0, -1.5], [0, 1.5], [0, 0]]
    assert found.errors == pytest.approx((10 / 148, 1 / 148), rel=1e-5)
