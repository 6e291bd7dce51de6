import numpy as np

from onerec.build.ids import text
from onerec.build.ids.text import text_space
from onerec.build.interactions import Item

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
    _, found = text_space(FILMS, width=5, rng=rng())
    likeness = found @ found.T
    np.testing.assert_allclose(np.diag(likeness), [1, 1, 1, 1, 0], atol=1e-6)
    assert likeness[0, 1] > 0.9
    assert likeness[2, 3] > 0.9
    np.testing.assert_allclose(likeness[:2, 2:4], 0, atol=1e-6)


def test_chinese_titles_that_share_characters_have_like_vectors():
    films = [Item("1", "红楼梦"), Item("2", "红楼"), Item("3", "西游记"), Item("4", "西游")]
    _, found = text_space(films, width=4, rng=rng())
    likeness = found @ found.T
    assert likeness[0, 1] > 0.9
    assert likeness[2, 3] > 0.9
    assert abs(likeness[0, 2]) < 1e-5


def test_descriptions_count_beside_titles():
    films = [Item("1", "A", text="a whale"), Item("2", "B", text="the whale"), Item("3", "C", text="a train")]
    space, _ = text_space(films, width=2, rng=rng())
    assert space.words == ("a", "whale")


def test_tf_idf_is_as_computed_by_hand():
    films = [Item("1", "red red river"), Item("2", "red"), Item("3", "river river"), Item("4", "red")]
    space, _ = text_space(films, width=2, rng=rng())
    assert space.words == ("red", "river")
    red, river = np.log(4 / 3), np.log(4 / 2)
    np.testing.assert_allclose(space.weights_M, [red, river], rtol=1e-6)
    dense = space.weighted(films).times(np.eye(2, dtype=np.float32))
    both = np.hypot(red, river)
    np.testing.assert_allclose(dense, [[red / both, river / both], [1, 0], [0, 1], [1, 0]], rtol=1e-6)


def test_a_new_item_with_the_words_of_an_old_one_has_its_vector_and_one_without_any_has_none():
    space, found = text_space(FILMS, width=5, rng=rng())
    new = [Item("x", "Red River, The", 1955, ("Western",)), Item("y", "unheard of")]
    np.testing.assert_allclose(space.vectors(new), [found[0], np.zeros(5)], atol=1e-6)


def test_of_too_many_words_the_most_frequent_count(monkeypatch):
    monkeypatch.setattr(text, "MAX_WORDS", 2)
    films = [Item("1", "c b a"), Item("2", "b c a"), Item("3", "c")]
    assert text_space(films, width=1, rng=rng())[0].words == ("a", "c")
