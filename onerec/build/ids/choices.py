"""By whom items were chosen as vectors: factors of their likeness over users.

Only events that may be trained on are looked at.

Shapes: N items, U users, E events, K width.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onerec.build.ids.sparse import Sparse, principal_rows
from onerec.build.interactions import Float32, Interactions


def choice_vectors(
    interactions: Interactions, trained_E: npt.NDArray[np.bool_], *, width: int, rng: np.random.Generator
) -> Float32:
    """Factors of the items' cosine likeness over the users who chose them, (N, width), each of length 1 or 0.

    Entries are 1 / sqrt(events of the item x events of the user), of events that are trained. The first
    factor only says how popular an item is and is left out.
    """
    items_E, users_E = interactions.items_E[trained_E], interactions.users_of_events[trained_E]
    shape = len(interactions.items), len(interactions.users)
    of_item_N, of_user_U = np.bincount(items_E, minlength=shape[0]), np.bincount(users_E, minlength=shape[1])
    values_E = 1.0 / np.sqrt(of_item_N[items_E] * of_user_U[users_E])
    rows_NK, _ = principal_rows(Sparse.of(items_E, users_E, values_E, shape=shape), width + 1, rng=rng)
    factors_NK = rows_NK[:, 1:]
    lengths_N1 = np.linalg.norm(factors_NK, axis=1, keepdims=True)
    return np.asarray(factors_NK / np.where(lengths_N1 > 1e-6, lengths_N1, np.float32(1)))
