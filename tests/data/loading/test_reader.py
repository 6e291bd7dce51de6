from __future__ import annotations

import pytest

from onerec.data.loading.reader import Slots


@pytest.mark.parametrize(
    ("slots", "wanted"),
    [
        (Slots(start=0, total=5, packs_per_step=2, rank=0, world_size=1), [0, 1, 2, 3, 4, -1]),
        (Slots(start=0, total=5, packs_per_step=2, rank=1, world_size=2), [1, 3, -1]),
        (Slots(start=0, total=5, packs_per_step=3, rank=1, world_size=2), [1, -1, 4, -1]),
        (Slots(start=4, total=5, packs_per_step=3, rank=0, world_size=2), [4, -1]),
        (Slots(start=0, total=2, packs_per_step=1, rank=3, world_size=4), [-1, -1]),
        (Slots(start=5, total=5, packs_per_step=3, rank=0, world_size=2), []),
    ],
)
def test_the_slots_of_a_rank_are_its_share_of_each_step(slots, wanted):
    assert (list(slots), len(slots)) == (wanted, len(wanted))
