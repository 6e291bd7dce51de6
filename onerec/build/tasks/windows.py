"""Histories cut into windows: the whole of each in equal pieces, or thinned by chance and cut by chance.

Only the training part of the split is looked at. What the windows say is not decided here.

Shapes: U users of a block, R windows, H events of all windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onerec.build.interactions import Int64
from onerec.build.tasks.keys import draw
from onerec.build.tasks.material import Material, ranges


@dataclass(frozen=True)
class Windows:
    """Windows of some users, in order, none of them empty."""

    users_R: Int64
    numbers_R: Int64
    """Of a user's windows, from 0."""
    events_H: Int64
    rows_H: Int64
    """The window that each event is in."""

    def part(self, rows: Int64) -> Windows:
        """Consecutive windows."""
        begin, end = np.searchsorted(self.rows_H, [rows[0], rows[-1] + 1])
        return Windows(
            self.users_R[rows],
            self.numbers_R[rows],
            self.events_H[begin:end],
            self.rows_H[begin:end] - rows[0],
        )


def whole_windows(material: Material, users: Int64) -> Windows:
    """Consecutive pieces of nearly the same length, as few as `window_items` allows."""
    lengths_U = material.split.train_lengths_U[users]
    pieces_U = -(-lengths_U // material.data.window_items)
    numbers_R, rows_R = ranges(np.zeros_like(pieces_U), pieces_U)
    starts_R = material.interactions.offsets_U1[users][rows_R]
    begins_R, ends_R = (
        starts_R + lengths_U[rows_R] * (numbers_R + more) // pieces_U[rows_R] for more in (0, 1)
    )
    return Windows(users[rows_R], numbers_R, *ranges(begins_R, ends_R))


def thinned_windows(material: Material, users: Int64, *, copy: int) -> Windows:
    """Histories of which each event has stayed with the chance `history_keep`, cut at borders of their own.

    A history that is still longer than `window_items` begins with a window of 1 to that many events, by
    chance, and goes on with full ones; the last one is what is left.
    """
    window = material.data.window_items
    names = (material.interactions.users[user].uid for user in users.tolist())
    draws = draw([f"pretrain/history/{name}/copy {copy}" for name in names], seed=material.seed)
    starts_U = material.interactions.offsets_U1[users]
    events_H, owners_H = ranges(starts_U, starts_U + material.split.train_lengths_U[users])
    kept_H = draws.kept(owners_H, events_H - starts_U[owners_H], material.data.history_keep)
    events_H, owners_H = events_H[kept_H], owners_H[kept_H]
    lengths_U = np.bincount(owners_H, minlength=len(users))
    places_H = np.arange(len(owners_H)) - (np.cumsum(lengths_U) - lengths_U)[owners_H]
    first_U = np.where(lengths_U > window, 1 + draws.choice(window), window)
    numbers_H = (places_H - first_U[owners_H] + window) // window
    begins_H = (np.diff(owners_H, prepend=-1) != 0) | (np.diff(numbers_H, prepend=-1) != 0)
    return Windows(users[owners_H[begins_H]], numbers_H[begins_H], events_H, np.cumsum(begins_H) - 1)
