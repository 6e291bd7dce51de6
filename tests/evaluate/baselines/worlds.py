"""Small histories whose answer is obvious."""

import numpy as np

from onerec.evaluate.histories import histories_of


def circle(num_users=60, *, num_items=8, length=7, seed=0, last=None):
    """Every user walks round a circle of items from a place of its own; the last two steps are held out.

    `last` replaces every test target.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for user, start in enumerate(rng.integers(num_items, size=num_users)):
        items = [int(start + step) % num_items for step in range(length)]
        items[-1] = items[-1] if last is None else last
        rows.append((str(user), items, length - 2, length - 2, length - 1))
    return histories_of(rows, num_items=num_items)
