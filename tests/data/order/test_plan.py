from __future__ import annotations

import hashlib
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from onerec.data.order.mixture import Group, draw
from onerec.data.order.plan import ARRAYS, PlanKey, open_plan, plan_epoch, plan_paths
from onerec.data.order.shuffle import BLOCK, shuffled
from tests.data.shuffle_statistics import faults

KEY = PlanKey(fingerprint="data", seed=3, max_length=64, local_shuffle_buffer_size=50)
LENGTHS = np.random.default_rng(0).integers(1, 65, 230).astype(np.int32)


def as_lists(plan):
    return [plan.pack(number).tolist() for number in range(len(plan))]


def test_a_plan_holds_every_sample_once_and_no_pack_overflows():
    packs = as_lists(plan_epoch(LENGTHS, KEY, 0))
    assert sorted(sample for pack in packs for sample in pack) == list(range(230))
    assert max(LENGTHS[pack].sum() for pack in packs) <= 64


def test_samples_of_one_pack_come_from_one_window_of_the_shuffle():
    order = shuffled(230, key=("data", 3, 0, "samples")).tolist()
    windows = [
        {order.index(sample) // 50 for sample in pack} for pack in as_lists(plan_epoch(LENGTHS, KEY, 0))
    ]
    assert {len(window) for window in windows} == {1}
    numbers = [window.pop() for window in windows]
    assert numbers != sorted(numbers)


@pytest.mark.parametrize(
    "other", [replace(KEY, fingerprint="x"), replace(KEY, seed=4), replace(KEY, max_length=65)]
)
def test_another_seed_or_data_gives_other_packs_and_the_same_gives_the_same(other):
    plan = as_lists(plan_epoch(LENGTHS, KEY, 0))
    assert plan == as_lists(plan_epoch(LENGTHS, KEY, 0))
    assert plan != as_lists(plan_epoch(LENGTHS, other, 0))
    assert plan != as_lists(plan_epoch(LENGTHS, KEY, 1))
    assert other.digest != KEY.digest


def test_plans_are_made_once_and_read_as_they_were_made(tmp_path):
    folders = plan_paths(tmp_path / "plans", LENGTHS, KEY, epochs=2)
    written = [(folder / f"{name}.npy").stat().st_mtime_ns for folder in folders for name in ARRAYS]
    assert plan_paths(tmp_path / "plans", LENGTHS, KEY, epochs=2) == folders
    assert [(folder / f"{name}.npy").stat().st_mtime_ns for folder in folders for name in ARRAYS] == written
    for epoch, folder in enumerate(folders):
        assert as_lists(open_plan(folder)) == as_lists(plan_epoch(LENGTHS, KEY, epoch))


def test_a_store_that_cannot_be_written_gets_its_plans_elsewhere(tmp_path):
    (tmp_path / "plans").write_text("not a folder, as on a disk that cannot be written")
    [folder] = plan_paths(tmp_path / "plans", LENGTHS, KEY, epochs=1)
    assert not folder.is_relative_to(tmp_path)
    assert as_lists(open_plan(folder)) == as_lists(plan_epoch(LENGTHS, KEY, 0))
    assert [path.name for path in tmp_path.iterdir()] == ["plans"]


LONGER = (np.arange(30_000, dtype=np.int64) * 2_654_435_761 % 1000 + 1).astype(np.int32)


def digest_of(plan):
    arrays = ((plan.samples, "<u4"), (plan.offsets, "<i8"), (plan.order, "<u4"))
    return hashlib.sha256(b"".join(array.astype(kind).tobytes() for array, kind in arrays)).hexdigest()


@pytest.mark.parametrize(
    ("epoch", "wanted"),
    [
        (0, "e6451797446f73bcd7744f914e125429f84ed4c3439c05c55889452bbe9b9c39"),
        (1, "bc43446bba86fe809666df90b6fb4d3012f3bf70d685d8ccda9d2d7285d78d33"),
    ],
)
def test_the_packs_of_data_and_seed_are_fixed_for_ever(epoch, wanted):
    key = replace(KEY, max_length=4096, local_shuffle_buffer_size=5000)
    assert digest_of(plan_epoch(LONGER, key, epoch)) == wanted


@pytest.mark.parametrize(
    ("epoch", "wanted"),
    [
        (0, "e74d281cc1b6f8bb6db3272c1de9a84b0913f3b3e160201c71c56a9ab2b5b2e5"),
        (1, "1968dc9382f6977daf3b6238c4e3a73053ec1e523acd08c54e7cdbbdfdfdb04b"),
    ],
)
def test_the_packs_of_a_mixture_in_two_levels_are_fixed_for_ever(epoch, wanted):
    key = replace(KEY, max_length=4096, local_shuffle_buffer_size=5000, group_tokens=4_000_000)
    groups = [Group("a", 10_000, 1), Group("b", 10_000, 1)]
    numbers = np.arange(30_000, dtype=np.int16) % 3 - 1
    drawn = draw(numbers, groups, [Fraction(7_500), Fraction(25_000)], key=("data", 3), epoch=epoch)
    assert digest_of(plan_epoch(LONGER, key, epoch, drawn)) == wanted


def test_the_name_of_a_plain_plan_is_fixed_for_ever():
    plain = PlanKey("data", seed=3, max_length=4096, local_shuffle_buffer_size=5000)
    assert plain.digest == "f4b3548ff2a88b27"
    others = [replace(plain, selection="x"), replace(plain, group_tokens=9), replace(plain, group_tokens=8)]
    assert len({key.digest for key in [plain, *others]}) == 4


def test_only_the_samples_that_an_epoch_draws_are_packed_as_often_as_it_draws_them():
    drawn = np.array([2, 2, 2, 5, 7, 100, 100, 229], dtype=np.uint32)
    for key in (KEY, replace(KEY, group_tokens=30)):
        packs = as_lists(plan_epoch(LENGTHS, key, 0, drawn))
        assert sorted(sample for pack in packs for sample in pack) == drawn.tolist()
        assert max(LENGTHS[pack].sum() for pack in packs) <= 64
    assert as_lists(plan_epoch(LENGTHS, KEY, 0, drawn[:0])) == []


def test_all_samples_drawn_once_are_the_plain_plan():
    drawn = np.arange(230, dtype=np.uint32)
    assert as_lists(plan_epoch(LENGTHS, KEY, 0, drawn)) == as_lists(plan_epoch(LENGTHS, KEY, 0))


def delivered(plan):
    """Samples in the order in which training gets them."""
    return np.concatenate([plan.pack(number) for number in range(len(plan))])


@pytest.mark.parametrize("count", [10_000, 200_000, 1_000_000])
@pytest.mark.parametrize("groups", [1, 5])
def test_samples_come_in_an_order_that_keeps_nothing_of_the_files(count, groups):
    lengths = np.clip(np.random.default_rng(0).lognormal(5, 1, count), 1, 4096).astype(np.int32)
    limit = None if groups == 1 else int(lengths.sum()) // groups + BLOCK * 4096
    key = PlanKey("data", seed=3, max_length=4096, local_shuffle_buffer_size=5000, group_tokens=limit)
    order = delivered(plan_epoch(lengths, key, 0))
    assert np.array_equal(np.sort(order), np.arange(count))
    assert faults(order, units=count // (1 if groups == 1 else BLOCK), groups=groups) == []


def test_the_samples_of_a_group_come_before_those_of_the_next_and_fit_into_the_memory():
    lengths = np.full(20_000, 10, dtype=np.int32)
    limit = 60_000
    key = PlanKey("data", seed=3, max_length=64, local_shuffle_buffer_size=900, group_tokens=limit)
    blocks = delivered(plan_epoch(lengths, key, 0)) // BLOCK
    seen = [np.flatnonzero(blocks == block) for block in range(blocks.max() + 1)]
    assert max(places[-1] - places[0] for places in seen) * 10 < limit
    starts = sorted(places[0] for places in seen)
    assert starts[-1] * 10 > 200_000 - limit
    first = set(blocks[:4000].tolist())
    assert first != set(range(len(first)))
