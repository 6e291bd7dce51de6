import numpy as np
import pytest

from onerec.build.interactions import Item
from onerec.build.vectors import choice_vectors, item_vectors, text_vectors

FILMS = (
    Item("1", "The Red River", 1951, ("Western",)),
    Item("2", "Return to Red River", 1958, ("Western",)),
    Item("3", "Night Train", 1997, ("Thriller",)),
    Item("4", "Night Bus", 1994, ("Thriller",)),
    Item("5", "Etwas", None, ()),
)


def rng():
    return np.random.default_rng(0)


def test_films_that_are_written_alike_have_like_vectors():
    found = text_vectors(FILMS, width=5, rng=rng())
    likeness = found @ found.T
    np.testing.assert_allclose(np.diag(likeness), [1, 1, 1, 1, 0], atol=1e-9)
    assert likeness[0, 1] > 0.9
    assert likeness[2, 3] > 0.9
    np.testing.assert_allclose(likeness[:2, 2:4], 0, atol=1e-9)


def test_films_chosen_by_the_same_people_have_like_vectors():
    histories = [(0, 1), (1, 0), (2, 3), (3, 2), (0, 1, 2)]
    found = choice_vectors(histories, num_items=5, width=1, rng=rng())
    assert found[0] @ found[1] > 0.9
    assert found[2] @ found[3] > 0.9
    assert found[0] @ found[2] < 0
    assert not found[4].any()


@pytest.mark.parametrize("width", [1, 2, 7, 64])
def test_vectors_have_the_width_and_both_halves_the_same_power(width):
    histories = [(0, 1), (1, 0), (2, 3), (3, 2), (0, 1, 2), (4, 1)]
    found = item_vectors(FILMS, histories, width=width, rng=rng())
    assert found.shape == (5, width)
    halves = np.split(found, [width // 2], axis=1)
    powers = [np.mean(np.sum(half**2, axis=1)) for half in halves if half.shape[1]]
    np.testing.assert_allclose(powers, 1.0)


def test_the_same_seed_gives_the_same_vectors():
    histories = [(0, 1), (2, 3), (0, 1, 2)]
    first = item_vectors(FILMS, histories, width=6, rng=rng())
    np.testing.assert_array_equal(first, item_vectors(FILMS, histories, width=6, rng=rng()))
