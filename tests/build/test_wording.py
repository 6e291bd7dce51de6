from onerec.build import wording
from onerec.build.interactions import Item, User

TOY_STORY = Item("1", "Toy Story", 1995, ("Animation", "Comedy"))
UNKNOWN = Item("267", "unknown", None, ())


def test_an_item_is_described_by_what_is_known_of_it():
    assert wording.description_of(TOY_STORY) == "Toy Story (1995). Genres: Animation, Comedy."
    assert wording.description_of(UNKNOWN) == "unknown."


def test_a_profile_tells_only_what_is_known_of_the_user():
    assert wording.profile_of(User("1", 24, "F", "writer"), ["Drama"], ["A", "B"]) == (
        "A viewer: 24-year-old woman (occupation: writer). Favourite genres: Drama. Films seen lately: A; B."
    )
    assert wording.profile_of(User("1"), [], ["A"]) == "A viewer: person. Films seen lately: A."


def test_the_wording_depends_on_seed_and_key_and_all_wordings_are_used():
    frames = wording.NEXT_ITEM
    chosen = [wording.chosen(frames, seed=1, key=str(n)) for n in range(200)]
    assert set(chosen) == set(frames)
    assert chosen == [wording.chosen(frames, seed=1, key=str(n)) for n in range(200)]
    assert chosen != [wording.chosen(frames, seed=2, key=str(n)) for n in range(200)]
