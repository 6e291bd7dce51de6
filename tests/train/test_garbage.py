"""Garbage is collected when the loop says so, and by Python again afterwards."""

import gc
import weakref

import pytest

from onerec.train.garbage import collect_garbage, garbage_collected_by_hand


class Ring:
    """Two objects that hold each other: only the collector frees them."""

    def __init__(self):
        self.other = self


@pytest.mark.parametrize("everything", [True, False])
def test_nothing_is_collected_until_it_is_asked_for(everything):
    with garbage_collected_by_hand():
        assert not gc.isenabled()
        ring = weakref.ref(Ring())
        assert ring() is not None
        collect_garbage(everything=everything)
        assert ring() is None


def test_python_collects_again_after_a_fault():
    with pytest.raises(KeyError), garbage_collected_by_hand():
        raise KeyError
    assert gc.isenabled()
