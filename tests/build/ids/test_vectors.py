from dataclasses import replace

import numpy as np
import pytest

from onerec.build.ids.choices import choice_vectors
from onerec.build.ids.vectors import item_vectors
from onerec.build.interactions import Interactions, Item, User
from onerec.build.split import leave_last_out
from onerec.config import BuildData
from onerec.errors import DataError

FILMS = (
    Item("1", "The Red River", 1951, ("Western",)),
    Item("2", "Return to Red River", 1958, ("Western",)),
    Item("3", "Night Train", 1997, ("Thriller",)),
    Item("4", "Night Bus", 1994, ("Thriller",)),
    Item("5", "Etwas", None, ()),
)
HISTORIES = [(0, 1), (1, 0), (2, 3), (3, 2), (0, 1, 2)]


def rng():
    return np.random.default_rng(0)


def interactions(histories, films=FILMS, embeddings=None):
    items = np.array([item for history in histories for item in history], dtype=np.int32)
    return Interactions(
        items=films,
        users=tuple(User(str(i)) for i in range(len(histories))),
        offsets_U1=np.cumsum([0, *map(len, histories)]),
        items_E=items,
        times_E=np.arange(len(items)),
        embeddings_ND=embeddings,
    )


def everything(found):
    return np.ones(found.num_events, dtype=bool)


def settings(**keys):
    return BuildData(source="movielens-100k", **keys)


def embedding():
    return BuildData.model_validate(
        {"source": "movielens-100k", "item_vectors": "embedding", "columns": {"embedding": "vector"}}
    )


def vectors(histories, *, trained=None, **keys):
    found = interactions(histories)
    trained = everything(found) if trained is None else trained
    return item_vectors(found, trained, data=settings(**keys), rng=rng()).vectors_ND


def test_films_chosen_by_the_same_people_have_like_vectors():
    histories = interactions(HISTORIES)
    found = choice_vectors(histories, everything(histories), width=1, rng=rng())
    assert found[0] @ found[1] > 0.9
    assert found[2] @ found[3] > 0.9
    assert found[0] @ found[2] < 0
    assert not found[4].any()


@pytest.mark.parametrize("width", [2, 7, 64])
@pytest.mark.parametrize("text_share", [0.25, 0.5, 0.9])
def test_vectors_have_the_width_and_each_part_its_share_of_the_power(width, text_share):
    found = vectors([*HISTORIES, (4, 1)], item_vector_size=width, text_share=text_share)
    assert (found.shape, found.dtype) == ((5, width), np.float32)
    text_width = max(1, int(width * text_share))
    powers = [np.mean(np.sum(part**2, axis=1)) for part in np.split(found, [text_width], axis=1)]
    np.testing.assert_allclose(powers, [text_share, 1 - text_share], rtol=1e-5)


def test_choices_alone_and_text_alone_are_shares_of_0_and_1():
    alone = interactions(HISTORIES)
    chosen = choice_vectors(alone, everything(alone), width=4, rng=rng())
    scale = 1 / np.sqrt(0.8)  # four items of five were chosen
    np.testing.assert_allclose(
        vectors(HISTORIES, item_vector_size=4, text_share=0.0), chosen * scale, atol=1e-6
    )
    assert not vectors(HISTORIES, item_vector_size=4, text_share=1.0)[4].any()


def test_the_same_seed_gives_the_same_bytes():
    assert (
        vectors(HISTORIES, item_vector_size=6).tobytes() == vectors(HISTORIES, item_vector_size=6).tobytes()
    )


def test_events_that_are_held_out_change_no_bit_whatever_they_are():
    first, other = interactions([(0, 1, 2, 3), (2, 3, 4, 0)]), interactions([(0, 1, 4, 4), (2, 3, 1, 1)])
    trained = leave_last_out(first).is_trained(first)
    assert trained.tolist() == [True, True, False, False] * 2
    found = [
        item_vectors(one, trained, data=settings(item_vector_size=6), rng=rng()).vectors_ND
        for one in (first, other)
    ]
    assert found[0].tobytes() == found[1].tobytes()
    assert found[0].tobytes() != vectors([(0, 1, 2, 3), (2, 3, 4, 0)], item_vector_size=6).tobytes()


def test_a_new_item_has_the_text_of_its_vector_and_no_choices():
    made = item_vectors(
        interactions(HISTORIES),
        np.ones(11, dtype=bool),
        data=settings(item_vector_size=6, text_share=0.5),
        rng=rng(),
    )
    new = made.vectoriser.of_new([replace(FILMS[0], pid="new")])
    np.testing.assert_allclose(new[0, :3], made.vectors_ND[0, :3], atol=1e-6)
    assert new.shape == (1, 6)
    assert not new[0, 3:].any()


def test_given_embeddings_are_taken_as_they_are_and_new_items_bring_theirs():
    given = np.arange(10, dtype=np.float32).reshape(5, 2)
    found = interactions(HISTORIES, embeddings=given)
    made = item_vectors(found, everything(found), data=embedding(), rng=rng())
    np.testing.assert_array_equal(made.vectors_ND, given)
    np.testing.assert_array_equal(made.vectoriser.of_new(FILMS[:2], given[3:]), given[3:])
    with pytest.raises(DataError, match=r"embeddings of 2 numbers, as the build had; found 3 numbers"):
        made.vectoriser.of_new(FILMS[:2], np.zeros((2, 3), dtype=np.float32))
    with pytest.raises(DataError, match="found none"):
        made.vectoriser.of_new(FILMS[:2])


def test_embeddings_that_are_missing_or_not_finite_are_told_with_their_items():
    given = np.zeros((5, 2), dtype=np.float32)
    given[1, 0], given[4] = np.inf, np.nan
    found = interactions(HISTORIES, embeddings=given)
    with pytest.raises(DataError, match=r"2 of 5 items have no embedding, .* \(2, 5\); complete the column"):
        item_vectors(found, everything(found), data=embedding(), rng=rng())
    with pytest.raises(DataError, match=r"items have no embeddings; name columns\.embedding"):
        item_vectors(interactions(HISTORIES), np.ones(11, dtype=bool), data=embedding(), rng=rng())
