import numpy as np
import pytest

from onerec.build import semantic_ids
from onerec.build.semantic_ids import assign, cluster, nearest
from onerec.errors import ConfigError


def points(count, width=4, seed=0):
    return np.random.default_rng(seed).standard_normal((count, width))


def rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize(
    ("count", "levels", "codes"), [(200, 3, 8), (64, 3, 4), (50, 1, 50), (30, 2, 6), (5, 3, 256), (1, 2, 3)]
)
def test_every_item_gets_an_id_of_its_own(count, levels, codes):
    found = assign(points(count), levels=levels, codes=codes, rng=rng())
    assert found.codes_NL.shape == (count, levels)
    assert ((found.codes_NL >= 0) & (found.codes_NL < codes)).all()
    assert len({tuple(row) for row in found.codes_NL.tolist()}) == count


def test_items_without_any_difference_still_get_ids_of_their_own():
    found = assign(np.zeros((27, 4)), levels=3, codes=3, rng=rng())
    assert len({tuple(row) for row in found.codes_NL.tolist()}) == 27
    assert [level.error for level in found.levels] == [0.0, 0.0, 0.0]


def test_more_items_than_ids_is_an_error_with_the_keys_to_raise():
    with pytest.raises(
        ConfigError, match=r"9 items do not fit .* \(8 ids\); raise vocab\.vocab_size_per_layer"
    ):
        assign(points(9), levels=3, codes=2, rng=rng())


def test_the_same_seed_gives_the_same_ids_and_another_seed_others():
    first = assign(points(300), levels=2, codes=32, rng=np.random.default_rng(1))
    again = assign(points(300), levels=2, codes=32, rng=np.random.default_rng(1))
    other = assign(points(300), levels=2, codes=32, rng=np.random.default_rng(2))
    assert first.codes_NL.tolist() == again.codes_NL.tolist() != other.codes_NL.tolist()


def test_of_colliding_items_the_closest_keeps_the_id_and_the_next_takes_the_nearest_free_code():
    distances = np.array([[0.5, 9.0, 2.0], [0.1, 1.0, 3.0], [0.9, 1.5, 1.2]])
    assert semantic_ids._share(distances, room=1).tolist() == [2, 0, 1]


def test_a_code_with_room_for_two_keeps_its_two_closest():
    distances = np.array([[0.5, 9.0], [0.1, 1.0], [0.9, 1.5]])
    assert semantic_ids._share(distances, room=2).tolist() == [0, 0, 1]


def test_a_code_of_a_higher_level_takes_no_more_items_than_there_are_ids_below_it():
    crowd = np.concatenate([np.zeros((7, 2)), np.array([[10.0, 0.0]])]) + points(8, width=2) * 1e-3
    found = assign(crowd, levels=3, codes=2, rng=rng())
    assert np.bincount(found.codes_NL[:, 0]).tolist() == [4, 4]
    assert len({tuple(row) for row in found.codes_NL.tolist()}) == 8


def test_only_items_that_were_moved_count_as_collisions():
    twins = np.array([[0.0, 0.0], [0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    found = assign(twins, levels=1, codes=4, rng=rng())
    assert found.collisions == 1
    assert sorted(found.codes_NL[:, 0].tolist()) == [0, 1, 2, 3]


def test_levels_tell_a_falling_error_the_codes_used_and_the_entropy():
    found = assign(points(500, width=8), levels=3, codes=16, rng=rng())
    errors = [level.error for level in found.levels]
    assert 1.0 > errors[0] > errors[1] > errors[2] > 0.0
    assert all(level.codes_used == 16 and 3.0 < level.entropy_bits <= 4.0 for level in found.levels[:2])
    assert [level.moved for level in found.levels[:2]] == [0, 0]


def test_clear_clusters_are_found():
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    crowd = np.repeat(centres, 25, axis=0) + points(100, width=2) * 0.1
    found = cluster(crowd, 4, rng=rng())
    codes, squared = nearest(centres, found)
    assert sorted(codes.tolist()) == [0, 1, 2, 3]
    assert squared.max() < 0.01


@pytest.mark.parametrize("chunk", [1, 50, 10**6])
def test_the_nearest_centroid_does_not_depend_on_the_chunk(monkeypatch, chunk):
    monkeypatch.setattr(semantic_ids, "CHUNK_DISTANCES", chunk)
    crowd, centres = points(40), points(7, seed=1)
    exact = np.sum((crowd[:, None] - centres) ** 2, axis=2)
    codes, squared = nearest(crowd, centres)
    assert codes.tolist() == exact.argmin(axis=1).tolist()
    np.testing.assert_allclose(squared, exact.min(axis=1), atol=1e-12)
