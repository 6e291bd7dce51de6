from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onerec.data.order import shuffled
from onerec.data.plan import ARRAYS, PlanKey, open_plan, plan_epoch, plan_paths

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
    folders = plan_paths(tmp_path / "plans", LENGTHS, KEY, 2)
    written = [(folder / f"{name}.npy").stat().st_mtime_ns for folder in folders for name in ARRAYS]
    assert plan_paths(tmp_path / "plans", LENGTHS, KEY, 2) == folders
    assert [(folder / f"{name}.npy").stat().st_mtime_ns for folder in folders for name in ARRAYS] == written
    for epoch, folder in enumerate(folders):
        assert as_lists(open_plan(folder)) == as_lists(plan_epoch(LENGTHS, KEY, epoch))


def test_a_store_that_cannot_be_written_gets_its_plans_elsewhere(tmp_path):
    (tmp_path / "plans").write_text("not a folder, as on a disk that cannot be written")
    [folder] = plan_paths(tmp_path / "plans", LENGTHS, KEY, 1)
    assert not folder.is_relative_to(tmp_path)
    assert as_lists(open_plan(folder)) == as_lists(plan_epoch(LENGTHS, KEY, 0))
    assert [path.name for path in tmp_path.iterdir()] == ["plans"]
