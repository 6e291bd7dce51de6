import pytest

from onerec.build.interactions import Event, Item, User, gather, natural_key, split_last
from onerec.errors import DataError

FILMS = [Item(pid, f"film {pid}", None, ()) for pid in ("10", "2", "1")]


def test_histories_are_in_order_of_time_and_then_of_item_number():
    events = [Event("7", "10", 5), Event("7", "2", 5), Event("7", "1", 9), Event("12", "1", 1)]
    gathered = gather(FILMS, [User("12", 30)], events)
    assert [item.pid for item in gathered.items] == ["1", "2", "10"]
    assert gathered.users == (User("7"), User("12", 30))
    assert gathered.histories == ((1, 2, 0), (0,))
    assert gathered.repeats == 0


def test_the_same_result_comes_from_events_in_any_order():
    events = [Event("7", "10", 5), Event("7", "2", 5), Event("8", "1", 9), Event("8", "2", 1)]
    assert gather(FILMS, [], events) == gather(FILMS[::-1], [], events[::-1])


def test_an_item_met_again_counts_once_at_its_first_time():
    events = [Event("1", "2", 1), Event("1", "10", 2), Event("1", "2", 3)]
    gathered = gather(FILMS, [], events)
    assert (gathered.histories, gathered.repeats) == (((1, 2),), 1)


def test_an_event_of_an_unknown_item_is_an_error_that_names_it():
    with pytest.raises(DataError, match="user 1 met item 99"):
        gather(FILMS, [], [Event("1", "99", 1)])


def test_numbers_come_by_value_before_other_names():
    assert sorted(["b", "10", "9", "a1"], key=natural_key) == ["9", "10", "a1", "b"]


def test_only_the_last_item_is_held_out_and_a_single_event_is_training():
    split = split_last(((3, 1, 2), (4,)))
    assert (split.train, split.heldout) == (((3, 1), (4,)), (2, None))
    assert split.popularity(5) == [0, 1, 0, 1, 1]
