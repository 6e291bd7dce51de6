from __future__ import annotations

import numpy as np
import pytest

from onerec.data.text.label import count_trained, labels_of


@pytest.mark.parametrize(
    ("spans", "wanted"),
    [
        ([], [-100, -100, -100, -100]),
        ([(1, 4)], [11, 12, 13, -100]),
        ([(0, 4)], [11, 12, 13, -100]),
        ([(0, 1)], [-100, -100, -100, -100]),
        ([(1, 2), (3, 4)], [11, -100, 13, -100]),
        ([(2, 3)], [-100, 12, -100, -100]),
    ],
)
def test_each_position_predicts_the_next_token_where_that_is_trained(spans, wanted):
    input_ids = np.array([10, 11, 12, 13], dtype=np.int32)
    labels = labels_of(input_ids, np.array(spans, dtype=np.int32).reshape(-1, 2))
    assert labels.tolist() == wanted
    assert count_trained(spans) == sum(label != -100 for label in wanted)
