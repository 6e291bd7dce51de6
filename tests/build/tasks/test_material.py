import math

import pyarrow as pa
import pytest

from onerec.build.interactions import Item
from onerec.build.tasks.material import (
    TEXT_CHARACTERS,
    clean,
    description_of,
    ranges,
    shortened,
    title_of,
)
from tests.build.tasks.materials import interactions, material

RATINGS = (5, 3, 4, math.nan, 1, 4, 2, 5)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (" a\n\tb  c ", "a b c"),
        ("buy <|sid_begin|><s_a_1> now", "buy now"),
        ("<s_<s_a_1>b_2>", ""),
        ("a <b> <|im_end|>", "a <b> <|im_end|>"),
    ],
)
def test_texts_of_others_cannot_spell_an_item(text, wanted):
    assert clean(text) == wanted


def test_a_long_text_is_cut_after_a_word():
    words = "word " * TEXT_CHARACTERS
    assert shortened(words) == ("word " * (TEXT_CHARACTERS // 5)).rstrip()
    assert shortened("x" * TEXT_CHARACTERS + "y") == "x" * TEXT_CHARACTERS
    assert shortened("x" * TEXT_CHARACTERS) == "x" * TEXT_CHARACTERS


def test_an_item_without_title_is_called_by_its_text_which_is_not_said_twice():
    named, nameless = Item("1", "Toy Story", text="A  toy."), Item("2", text="A toy.")
    assert (title_of(named), description_of(named)) == ("Toy Story", "A toy.")
    assert (title_of(nameless), description_of(nameless)) == ("A toy.", "")


def test_ratings_say_what_is_liked_from_the_positive_one_on():
    made = material(interactions(ratings=RATINGS), positive_rating=4)
    assert made.types.names == ("likes",)
    assert made.types.types_E.tolist() == [0, -1, 0, -1, -1, 0, -1, 0]
    assert made.labels.known_E.tolist() == [True] * 3 + [False] + [True] * 4
    assert made.labels.positive_E.tolist() == [rating >= 4 for rating in RATINGS]


def test_types_of_the_data_are_taken_before_ratings_and_positive_types_are_liked():
    found = interactions(types_E=pa.array([0, 1, -1, 0, 0, 1, 1, 0]).to_numpy(), type_names=("view", "buy"))
    made = material(found, positive_types=("buy",))
    assert made.types.names == ("view", "buy")
    assert made.labels.known_E.tolist() == [True, True, False, True, True, True, True, True]
    assert made.labels.positive_E.tolist() == [False, True, False, False, False, True, True, False]
    assert made.labels.asked == ("buy",)


def test_without_ratings_or_a_positive_one_nothing_is_known_to_be_liked():
    for made in (material(), material(interactions(ratings=RATINGS)), material(positive_rating=4)):
        assert (made.types, made.labels) == (None, None)


def test_a_query_of_blanks_is_none():
    queries = pa.array(["shoes", None, "", "  ", "hat", None, None, None], pa.string())
    assert material(interactions(queries_E=queries)).has_query.tolist() == [
        *(True, False, False, False, True, False, False, False)
    ]


def test_ranges_stand_one_after_the_other():
    numbers, rows = ranges(pa.array([3, 9, 5]).to_numpy(), pa.array([5, 9, 8]).to_numpy())
    assert (numbers.tolist(), rows.tolist()) == ([3, 4, 5, 6, 7], [0, 0, 2, 2, 2])
