import uuid

import numpy as np
import pytest

from onerec.build.tasks.keys import draw, ranked

KEYS = [f"sft/next_item/{user}/3" for user in range(5000)]


def test_uuids_are_valid_of_version_8_and_differ():
    made = draw(KEYS, seed=1).uuids.to_pylist()
    parsed = [uuid.UUID(text) for text in made]
    assert [str(one) for one in parsed] == made
    assert {(one.version, one.variant) for one in parsed} == {(8, uuid.RFC_4122)}
    assert len(set(made)) == len(KEYS)


def test_what_chance_decides_depends_on_seed_and_key_and_not_on_the_other_rows():
    whole, part = draw(KEYS, seed=1), draw(KEYS[7:9], seed=1)
    assert whole.uuids.slice(7, 2).equals(part.uuids)
    assert whole.choice(9)[7:9].tolist() == part.choice(9).tolist()
    assert not whole.uuids.equals(draw(KEYS, seed=2).uuids)
    assert (whole.choice(9) != draw(KEYS, seed=2).choice(9)).any()


def test_one_draw_stays_as_it_is_for_ever():
    """blake2b of `1/sft/next_item/0/3`: sets that were built stay comparable with those to come."""
    made = draw(KEYS[:1], seed=1)
    assert (made.uuids[0].as_py(), int(made.chances_R[0])) == (
        "0b49c479-265b-86ee-92a1-bc52308010a4",
        9_748_396_436_372_481_240,
    )


def test_every_choice_is_made_about_equally_often():
    counts = np.bincount(draw(KEYS, seed=1).choice(4), minlength=4)
    assert counts.min() > 1100
    assert counts.max() < 1400


@pytest.mark.parametrize("chance", [0.2, 0.8])
def test_each_event_stays_with_the_given_chance_whatever_stands_beside_it(chance):
    draws = draw(KEYS[:100], seed=1)
    rows_E, places_E = np.repeat(np.arange(100), 100), np.tile(np.arange(100), 100)
    kept_E = draws.kept(rows_E, places_E, chance)
    assert abs(kept_E.mean() - chance) < 0.02
    assert np.abs(kept_E.reshape(100, 100).mean(axis=0) - chance).max() < 0.2
    assert np.array_equal(kept_E[500:600], draws.kept(rows_E[500:600], places_E[500:600], chance))
    assert draws.kept(rows_E, places_E, 1.0).all()


def test_an_order_by_chance_has_every_key_once():
    order = ranked(KEYS, seed=1)
    assert sorted(order.tolist()) == list(range(len(KEYS)))
    assert order.tolist() != ranked(KEYS, seed=2).tolist()
