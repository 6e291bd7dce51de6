from collections import Counter

import numpy as np
import pytest

from onerec.build.ids import assignment
from onerec.build.ids.assignment import Taken, make_room
from onerec.build.ids.codebook import nearest, padded


def places(*values):
    """Points or centroids on a line."""
    return np.array(values, dtype=np.float32)[:, None]


def chosen(points, centroids, *, room, prefix=None, taken=()):
    book = padded(centroids, len(centroids))
    prefix = np.zeros(len(points), dtype=np.int64) if prefix is None else np.array(prefix)
    there = np.array(taken, dtype=np.int64).reshape(-1, 2)
    placed = make_room(
        points, book, nearest(points, book), prefix, room=room, taken=Taken(there[:, 0], there[:, 1])
    )
    return placed.codes_N.tolist(), placed.is_moved_N.tolist()


def plain_rule(points, centroids, prefix, room, taken):
    """The rule as it is said, item by item."""
    distances = np.sum((points[:, None].astype(np.float64) - centroids[None]) ** 2, axis=2)
    wanted, left = distances.argmin(axis=1), Counter()
    for p, k in taken:
        left[p, k] -= 1
    codes = np.full(len(points), -1)
    order = np.argsort(distances.min(axis=1), kind="stable").tolist()
    for item in order:
        if left[prefix[item], wanted[item]] + room > 0:
            codes[item] = wanted[item]
            left[prefix[item], wanted[item]] -= 1
    for item in order:
        if codes[item] < 0:
            free = [left[prefix[item], k] + room > 0 for k in range(len(centroids))]
            codes[item] = np.where(free, distances[item], np.inf).argmin()
            left[prefix[item], codes[item]] -= 1
    return codes.tolist()


def test_where_there_is_room_everybody_gets_the_nearest_code():
    assert chosen(places(0, 9, 1), places(0, 10), room=2) == ([0, 1, 0], [False] * 3)


def test_of_colliding_items_the_closest_keeps_the_id_and_the_next_takes_the_nearest_free_code():
    codes, moved = chosen(places(0.4, 0.1, 0.9), places(0, 7, 3), room=1)
    assert codes == [2, 0, 1]  # 0.4 chooses before 0.9, which is farther from what both wanted
    assert moved == [True, False, True]


def test_a_code_with_room_for_two_keeps_its_two_closest():
    assert chosen(places(0.5, 0.1, 0.9), places(0, 9), room=2)[0] == [0, 0, 1]


def test_of_equal_items_the_one_of_lower_number_stays():
    assert chosen(places(0, 0, 0), places(0, 1, 5), room=1)[0] == [0, 1, 2]


def test_items_of_other_prefixes_are_in_nobodys_way():
    assert chosen(places(0, 0, 0, 0), places(0, 1), room=1, prefix=[0, 1, 1, 0])[0] == [0, 0, 1, 1]


def test_ids_that_are_taken_stay_taken_even_from_closer_items():
    codes, moved = chosen(places(0, 9), places(0, 4, 10), room=1, taken=[(0, 0), (1, 2)])
    assert (codes, moved) == ([1, 2], [True, False])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("chunk", [8, 10**6])
def test_many_prefixes_at_once_are_as_the_rule_says_for_each_item(monkeypatch, seed, chunk):
    monkeypatch.setattr(assignment, "CHUNK_DISTANCES", chunk)
    rng = np.random.default_rng(seed)
    room, centroids = int(rng.integers(1, 4)), rng.standard_normal((6, 3)).astype(np.float32)
    prefix = np.repeat(np.arange(0, 40, 3), 5 * room)
    rng.shuffle(prefix)
    points = rng.standard_normal((len(prefix), 3)).astype(np.float32)
    taken = [(p, rng.integers(6)) for p in range(0, 40, 3) for _ in range(room)]
    expected = plain_rule(points, centroids, prefix, room, taken)
    assert chosen(points, centroids, room=room, prefix=prefix, taken=taken)[0] == expected
    full = Counter([*zip(prefix.tolist(), expected, strict=True), *taken])
    over = Counter(taken)
    assert all(count <= max(room, over[key]) for key, count in full.items())
