import numpy as np

from onerec.evaluate.segments import by_history_length, by_popularity


def shown(segments):
    return {segment.name: np.flatnonzero(segment.is_in_U).tolist() for segment in segments}


def test_histories_fall_into_three_segments_of_about_the_same_size():
    lengths = np.array([5, 1, 9, 3, 7, 20])
    assert shown(by_history_length(lengths)) == {"1 to 3": [1, 3], "4 to 7": [0, 4], "8 to 20": [2, 5]}


def test_every_user_is_in_exactly_one_segment():
    for lengths in ([4] * 9, [1, 2], [1], [1, 1, 1, 8], list(range(100))):
        segments = by_history_length(np.array(lengths))
        assert (np.sum([segment.is_in_U for segment in segments], axis=0) == 1).all()
    drawn = np.random.default_rng(0)
    segments = by_popularity(drawn.integers(50, size=300), drawn.integers(0, 4, size=50))
    assert (np.sum([segment.is_in_U for segment in segments], axis=0) == 1).all()


def test_targets_are_of_head_middle_tail_or_new():
    popularity = np.array([100, 90, 50, 40, 30, 20, 10, 5, 0, 0])
    assert shown(by_popularity(np.array([0, 1, 2, 4, 5, 7, 8, 9]), popularity)) == {
        "head (most popular 20% of items)": [0, 1],
        "middle": [2, 3],
        "tail (least popular 50%)": [4, 5],
        "never seen in training": [6, 7],
    }


def test_nobody_is_in_no_segment():
    assert by_history_length(np.array([], dtype=np.int64)) == []
    assert by_popularity(np.array([], dtype=np.int64), np.array([1, 2])) == []
