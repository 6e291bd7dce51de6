"""What is trained on and what is held out, in tables of a few users and as promises about any users."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onerec.build.interactions import Interactions, Item, User
from onerec.build.split import NONE, by_time, leave_last_out, split_of
from onerec.config import BuildData
from onerec.errors import DataError

NUM_ITEMS = 3


def interactions_of(*times_of_users):
    """One user for each list of seconds, oldest first; the items go round."""
    lengths_U = [len(times) for times in times_of_users]
    num_events = sum(lengths_U)
    return Interactions(
        items=tuple(Item(pid=str(number)) for number in range(NUM_ITEMS)),
        users=tuple(User(uid=str(number)) for number in range(len(times_of_users))),
        offsets_U1=np.cumsum([0, *lengths_U], dtype=np.int64),
        items_E=(np.arange(num_events) % NUM_ITEMS).astype(np.int32),
        times_E=np.array([time for times in times_of_users for time in times], dtype=np.int64),
    )


def rows(split):
    """(training length, place of the validation target, place of the test target) of each user."""
    columns = (split.train_lengths_U, split.validation_U, split.test_U)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def target_times(times_of_users, places_U):
    """Seconds of the targets of those users who have one."""
    return [times[place] for times, place in zip(times_of_users, places_U, strict=True) if place != NONE]


LAST_OUT = {  # number of events: (with validation, without)
    0: ((0, NONE, NONE), (0, NONE, NONE)),
    1: ((1, NONE, NONE), (1, NONE, NONE)),
    2: ((1, NONE, 1), (1, NONE, 1)),
    3: ((1, 1, 2), (2, NONE, 2)),
    5: ((3, 3, 4), (4, NONE, 4)),
}


@pytest.mark.parametrize("num_events", LAST_OUT)
def test_the_last_event_is_held_out_and_the_one_before_it_where_one_is_left_to_train_on(num_events):
    interactions = interactions_of(range(num_events))
    with_validation, without = LAST_OUT[num_events]
    assert rows(leave_last_out(interactions)) == [with_validation]
    assert rows(leave_last_out(interactions, validation=False)) == [without]


def test_users_are_held_out_one_by_one_whatever_the_others_have():
    interactions = interactions_of(*(range(num_events) for num_events in LAST_OUT))
    assert rows(leave_last_out(interactions)) == [with_validation for with_validation, _ in LAST_OUT.values()]


TEN = range(10)
BY_TIME = {
    "the newest fifth, and the fifth before it": ([TEN], 0.2, 0.2, [(6, 6, 8)]),
    "the shares are of everybody's events": (
        [[0, 1, 2, 6, 8], [3, 4, 5, 7, 9]],
        0.2,
        0.2,
        [(3, 3, 4), (3, 3, 4)],
    ),
    "the first event after each moment, however late": (
        [[0, 1, 7], [2, 3, 9], [4, 5, 6, 8]],
        0.2,
        0.2,
        [(2, 2, NONE), (2, NONE, 2), (2, 2, 3)],
    ),
    "all before the moments: trained on whole": (
        [[0, 1, 2, 3], [4, 5, 6, 7, 8, 9]],
        0.2,
        0.2,
        [(4, NONE, NONE), (2, 2, 4)],
    ),
    "nothing before the first moment: no validation, but a history for the test": (
        [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]],
        0.2,
        0.2,
        [(6, NONE, NONE), (0, NONE, 2)],
    ),
    "nothing before either moment: no target": (
        [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9]],
        0.2,
        0.2,
        [(6, 6, NONE), (0, NONE, NONE)],
    ),
    "a user without events": ([[], TEN], 0.2, 0.2, [(0, NONE, NONE), (6, 6, 8)]),
    "a second at a moment is held out whole, of one user": (
        [[0, 1, 2, 3, 5, 5, 5, 8, 8, 8]],
        0.4,  # six of ten: begins at place 4; the test at place 8, so at second 8
        0.2,
        [(4, 4, 7)],
    ),
    "a second at a moment is held out whole, of several users": (
        [[0, 1, 4, 7], [2, 4, 7], [3, 4, 7]],
        0.2,  # four of ten: begins within second 4; the test within second 7
        0.2,
        [(2, 2, 3), (1, 1, 2), (1, 1, 2)],
    ),
    "both moments within one second: the test has it": (
        [[0, 1, 2, 3, 4], [5, 9, 9, 9, 9]],
        0.1,
        0.2,
        [(5, NONE, NONE), (1, NONE, 1)],
    ),
    "no validation": ([TEN], 0, 0.2, [(8, NONE, 8)]),
    "no test": ([TEN], 0.2, 0, [(8, 8, NONE)]),
    "neither": ([TEN], 0, 0, [(10, NONE, NONE)]),
    "shares of less than half an event": ([TEN], 0.02, 0.02, [(10, NONE, NONE)]),
}


@pytest.mark.parametrize("case", BY_TIME)
def test_events_from_two_moments_on_are_held_out(case):
    times_of_users, validation_share, test_share, expected = BY_TIME[case]
    interactions = interactions_of(*times_of_users)
    assert rows(by_time(interactions, validation_share=validation_share, test_share=test_share)) == expected


@pytest.mark.parametrize(
    "times_of_users",
    [[], [[]], [TEN], [[3, 3], [3]]],
    ids=["no user", "no event", "all held out", "all in one second"],
)
def test_nothing_left_to_train_on_is_said_with_the_remedy(times_of_users):
    with pytest.raises(DataError, match="lower test_share and validation_share"):
        by_time(interactions_of(*times_of_users), validation_share=0.5, test_share=0.5)


def test_the_moments_are_told():
    split = by_time(interactions_of([0, 1, 2, 3, 4], [5, 6, 7, 8, 8]), validation_share=0.2, test_share=0.1)
    assert split.moments == (7, 8)
    assert leave_last_out(interactions_of(TEN)).moments is None


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (8, 8, 9)),
        ({"validation": False}, (9, NONE, 9)),
        ({"split": "time", "validation_share": 0.2, "test_share": 0.3}, (5, 5, 7)),
    ],
)
def test_the_settings_choose_the_split(settings, expected):
    data = BuildData(interactions="events", items="items", **settings)
    assert rows(split_of(interactions_of(TEN), data)) == [expected]


def test_only_training_events_are_marked_and_counted():
    interactions = interactions_of(range(5), range(1), range(3))  # items 0 1 2 0 1, 2, 0 1 2
    split = leave_last_out(interactions)
    assert split.is_trained(interactions).tolist() == [True] * 3 + [False] * 2 + [True] + [True] + [False] * 2
    assert split.popularity(interactions).tolist() == [2, 1, 2]


def test_an_item_that_is_only_held_out_has_popularity_0():
    interactions = interactions_of(range(3))
    assert leave_last_out(interactions).popularity(interactions).tolist() == [1, 0, 0]


USERS = st.lists(st.lists(st.integers(-3, 12), max_size=8).map(sorted), min_size=1, max_size=6)
SHARES = st.floats(0, 0.35)


def assert_every_target_follows_what_its_user_is_trained_on(interactions, split):
    trained = np.split(split.is_trained(interactions), interactions.offsets_U1[1:-1])
    for trained_of_user, (_, validation, test) in zip(trained, rows(split), strict=True):
        places = np.flatnonzero(trained_of_user)
        assert all(places.max(initial=-1) < target for target in (validation, test) if target != NONE)
        assert all(target < len(trained_of_user) for target in (validation, test))
        assert validation < test or NONE in (validation, test)


@given(times_of_users=USERS, validation=st.booleans())
def test_the_last_out_follow_all_that_their_user_is_trained_on(times_of_users, validation):
    interactions = interactions_of(*times_of_users)
    split = leave_last_out(interactions, validation=validation)
    assert_every_target_follows_what_its_user_is_trained_on(interactions, split)


@given(times_of_users=USERS, validation_share=SHARES, test_share=SHARES)
def test_held_out_by_time_nobody_is_trained_on_anything_as_new_as_a_target(
    times_of_users, validation_share, test_share
):
    times_of_users = [
        [-9, -8],
        *times_of_users,
    ]  # with at most 0.7 held out, so that some are left to train on
    interactions = interactions_of(*times_of_users)
    split = by_time(interactions, validation_share=validation_share, test_share=test_share)
    assert_every_target_follows_what_its_user_is_trained_on(interactions, split)
    newest_trained = interactions.times_E[split.is_trained(interactions)].max()
    validation = target_times(times_of_users, split.validation_U)
    test = target_times(times_of_users, split.test_U)
    assert all(newest_trained < time for time in validation + test)
    assert not validation or not test or max(validation) < min(test)
