"""Labels of one sample: each position predicts the next token of the same sample, if that token is trained.

This is the only place where labels are made; spans come from `render`, never from searching token ids.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IGNORED = -100
"""Label of a position that is not trained: the value that torch's cross entropy ignores."""

Int32Array = npt.NDArray[np.int32]


def labels_of(input_ids: Int32Array, spans: Int32Array) -> Int32Array:
    """Labels of n token ids, given trained spans [start, end) in an array of shape (k, 2)."""
    labels = np.full(len(input_ids), IGNORED, dtype=np.int32)
    for start, end in spans:
        first = max(int(start), 1)
        labels[first - 1 : end - 1] = input_ids[first:end]
    return labels


def count_trained(spans: list[tuple[int, int]]) -> int:
    """Labels that disjoint spans give: every token in them but a sample's first, which nothing predicts."""
    return sum(max(0, end - max(start, 1)) for start, end in spans)
