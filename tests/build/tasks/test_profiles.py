import numpy as np

from onerec.build.interactions import Item, User
from onerec.build.tasks.profiles import profile_fields
from tests.build.tasks.materials import interactions, material

USERS = (User("1", 24, "F", "writer"), User("2", None, "M"), User("3"))


def fields(histories, *, users=USERS, items=None, languages=("en",)):
    given = {} if items is None else {"items": items}
    made = material(interactions(histories, users=users, **given), languages=languages)
    found = profile_fields(made, np.arange(len(users)))
    return {
        language: {name: column.to_pylist() for name, column in columns.items()}
        for language, columns in found.items()
    }


def test_a_profile_tells_who_the_user_is_as_far_as_that_is_known():
    told = fields(((0, 1, 2), (1, 2, 3), (3, 4, 5)), languages=("en", "zh"))
    assert told["en"]["who"] == ["woman", "man", "person"]
    assert told["zh"]["who"] == ["女性", "男性", "用户"]
    assert (told["en"]["age"], told["en"]["occupation"]) == (["24", "", ""], ["writer", "", ""])


def test_favourites_are_the_three_categories_met_most_and_of_equals_the_first_by_name():
    tags = (("D", "B"), ("B", "C"), ("A", "B", "C"), (), ("Z",), ("D", "D"))
    items = [Item(str(n), f"Film {n}", categories=own) for n, own in enumerate(tags)]
    told = fields(((0, 1, 2, 4, 4), (3, 4, 4), (4, 5, 5, 4, 4)), items=items)
    assert told["en"]["categories"] == ["B, C, A", "", "D, Z"]


def test_recent_items_are_the_last_three_of_the_training_part_with_titles_where_there_are_any():
    items = [Item("0", "Zero"), Item("1"), Item("2", text="Two."), Item("3", "Three")]
    told = fields(((3, 0, 1, 2, 3, 3), (1, 2, 3), (0, 0, 0)), items=items)
    assert told["en"]["recent"] == ["<0> Zero; <1>; <2> Two.", "<1>", "<0> Zero"]
