"""Work behind its caller: in order, never far behind, and its errors are not lost."""

import threading

import pytest

from onerec.lane import DEPTH, Lane


def test_work_is_done_in_order_and_all_of_it_before_the_lane_is_left():
    done = []
    with Lane() as lane:
        for number in range(50):
            lane.do(done.append, number)
    assert done == list(range(50))


def test_no_more_waits_than_there_is_memory_for():
    gate, given = threading.Event(), []

    def give():
        with Lane() as lane:
            for number in range(9):
                lane.do(gate.wait)
                given.append(number)

    caller = threading.Thread(target=give)
    caller.start()
    caller.join(0.2)
    assert len(given) == DEPTH
    gate.set()
    caller.join()
    assert len(given) == 9


@pytest.mark.parametrize("calls", [1, 9])
def test_an_error_of_the_work_is_raised_at_the_latest_on_leaving(calls):
    def give():
        with Lane() as lane:
            for _ in range(calls):
                lane.do(lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        give()


def test_an_error_of_the_caller_ends_the_lane_without_what_waits():
    gate, done = threading.Event(), []

    def fail():
        with Lane() as lane:
            lane.do(gate.wait)
            lane.do(done.append, 1)
            threading.Timer(0.05, gate.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert done == []
