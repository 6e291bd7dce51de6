"""Segments of users: by how long their history is, and by how popular what they turned to is. Pure.

Shapes: U users.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

HEAD_SHARE, TAIL_SHARE = 0.2, 0.5
"""Head: items that are among the most popular 20 % of the catalogue; tail: among the least popular 50 %."""


@dataclass(frozen=True)
class Segment:
    """Some of the users."""

    by: str
    """What it is a segment of: `history length` or `popularity of the target`."""
    name: str
    is_in_U: Mask


def by_history_length(lengths_U: Int64) -> list[Segment]:
    """Three segments of about the same size, by the number of events before the target."""
    if not len(lengths_U):
        return []
    borders = np.unique(np.quantile(lengths_U, [1 / 3, 2 / 3], method="inverted_cdf")).tolist()
    lows = [int(lengths_U.min()), *(border + 1 for border in borders)]
    highs = [*borders, int(lengths_U.max())]
    return [
        Segment("history length", f"{low} to {high}", (lengths_U >= low) & (lengths_U <= high))
        for low, high in zip(lows, highs, strict=True)
        if low <= high
    ]


def by_popularity(targets_U: Int64, popularity_N: Int64) -> list[Segment]:
    """Head, middle and tail of the catalogue by training events, and targets without any.

    Items of equal popularity are ordered by their number.
    """
    num_items = len(popularity_N)
    place_N = np.empty(num_items, dtype=np.int64)
    place_N[np.lexsort((np.arange(num_items), -popularity_N))] = np.arange(num_items)
    place_U, events_U = place_N[targets_U], popularity_N[targets_U]
    head, tail = round(num_items * HEAD_SHARE), round(num_items * (1 - TAIL_SHARE))
    never_U = events_U == 0
    parts = (
        (f"head (most popular {HEAD_SHARE:.0%} of items)", (place_U < head) & ~never_U),
        ("middle", (place_U >= head) & (place_U < tail) & ~never_U),
        (f"tail (least popular {TAIL_SHARE:.0%})", (place_U >= tail) & ~never_U),
        ("never seen in training", never_U),
    )
    return [Segment("popularity of the target", name, mask) for name, mask in parts if mask.any()]
