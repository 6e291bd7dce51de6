import pytest
import torch

from onerec.build.ids.threads import SMALL, threads_for


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
