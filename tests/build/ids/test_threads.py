import threading

import pytest
import torch

from onerec.build.ids.threads import SMALL, each, threads_apart, threads_for


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("items", "threads"), [(SMALL, 1), (SMALL + 1, 2)])
def test_few_items_are_counted_with_one_thread_and_many_with_all(two_threads, items, threads):
    with threads_for(items):
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 2


def test_threads_are_as_before_after_a_fault(two_threads):
    with pytest.raises(ValueError, match="why"), threads_for(1):
        raise ValueError("why")
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("parts", [0, 1, 3, 50])
def test_every_part_is_done_once_and_the_threads_are_as_before(two_threads, parts):
    done = [0] * parts

    def work(part):
        done[part.start] += 1

    with threads_apart():
        each(work, [slice(i, i + 1) for i in range(parts)])
    assert done == [1] * parts
    assert torch.get_num_threads() == 2


def test_many_parts_are_done_by_threads_of_their_own_and_every_operation_by_one(two_threads):
    seen = set()
    with threads_apart():
        each(
            lambda part: seen.add((torch.get_num_threads(), threading.current_thread().name)),
            [slice(i, i + 1) for i in range(50)],
        )
        assert torch.get_num_threads() == 1
    assert {number for number, _ in seen} == {1}
    assert threading.current_thread().name not in {name for _, name in seen}


def test_a_fault_in_a_part_is_told(two_threads):
    def work(part):
        raise ValueError(f"part {part.start}")

    with pytest.raises(ValueError, match="part 0"), threads_apart():
        each(work, [slice(i, i + 1) for i in range(9)])
    assert torch.get_num_threads() == 2
