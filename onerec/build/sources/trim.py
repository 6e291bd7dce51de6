"""Leave users and items out: by policy, and by their number of events.

What is left out is counted and told. Nothing here reads a source.

Shapes: N items, U users, E events.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from onerec.build.interactions import Int64, Interactions
from onerec.build.sources.oddities import EXAMPLES, Oddities
from onerec.config.build import BuildData

Mask = npt.NDArray[np.bool_]


def trimmed(found: Interactions, data: BuildData, oddities: Oddities) -> Interactions:
    """Without the items and users that policy and the smallest numbers of events leave out.

    Faults are gathered in `oddities`.
    """
    policy = data.policy
    silent_N = np.array([not item.has_text for item in found.items], dtype=bool)
    _judge_items(oddities, "items_without_text", policy.items_without_text, silent_N, found)
    stays_N = ~silent_N if policy.items_without_text == "drop" else np.ones(len(found.items), dtype=bool)
    stays_U = np.ones(len(found.users), dtype=bool)
    found = without(found, stays_N, stays_U)
    found = _core(found, data, oddities)
    lonely_U = np.diff(found.offsets_U1) == 1
    oddities.judge(
        "users_with_one_event",
        policy.users_with_one_event,
        count=int(lonely_U.sum()),
        what="users have one event, of which nothing can be held out",
        examples=(found.users[user].uid for user in np.flatnonzero(lonely_U)[:EXAMPLES]),
        then="left out" if policy.users_with_one_event == "drop" else "trained on, not evaluated",
    )
    if policy.users_with_one_event == "drop":
        found = without(found, np.ones(len(found.items), dtype=bool), ~lonely_U)
    unmet_N = np.bincount(found.items_E, minlength=len(found.items)) == 0
    _judge_items(oddities, "items_without_interactions", policy.items_without_interactions, unmet_N, found)
    if policy.items_without_interactions == "drop":
        found = without(found, ~unmet_N, np.ones(len(found.users), dtype=bool))
    return found


def _judge_items(oddities: Oddities, key: str, choice: str, odd_N: Mask, found: Interactions) -> None:
    what = {
        "items_without_text": "items have neither title nor text",
        "items_without_interactions": "items have no interaction",
    }
    kept = {
        "items_without_text": "kept, without rows about them",
        "items_without_interactions": "kept, their ids come from what is written about them",
    }
    oddities.judge(
        key,
        choice,
        count=int(odd_N.sum()),
        what=what[key],
        examples=(found.items[item].pid for item in np.flatnonzero(odd_N)[:EXAMPLES]),
        then="left out" if choice == "drop" else kept[key],
    )


def _core(found: Interactions, data: BuildData, oddities: Oddities) -> Interactions:
    """Users and items with at least so many events, left out again and again until it holds (k-core)."""
    if data.min_user_events <= 1 and not data.min_item_events:
        return found
    users, items = len(found.users), len(found.items)
    while True:
        stays_U = np.diff(found.offsets_U1) >= data.min_user_events
        stays_N = np.bincount(found.items_E, minlength=len(found.items)) >= data.min_item_events
        if stays_U.all() and stays_N.all():
            break
        found = without(found, stays_N, stays_U)
    if (users, items) != (len(found.users), len(found.items)):
        oddities.note(
            f"{users - len(found.users):,} users and {items - len(found.items):,} items have too few events: "
            "left out (min_user_events, min_item_events)"
        )
    return found


def without(found: Interactions, stays_N: Mask, stays_U: Mask) -> Interactions:
    """Only these items and users, and only users that still have events."""
    users_E = found.users_of_events
    stays_E = stays_N[found.items_E] & stays_U[users_E]
    stays_U = stays_U & (np.bincount(users_E[stays_E], minlength=len(found.users)) > 0)
    if stays_E.all() and stays_N.all() and stays_U.all():
        return found
    new_item_N, new_user_U = np.cumsum(stays_N) - 1, np.cumsum(stays_U) - 1
    queries_E = found.queries_E
    return replace(
        found,
        items=tuple(item for item, stays in zip(found.items, stays_N, strict=True) if stays),
        users=tuple(user for user, stays in zip(found.users, stays_U, strict=True) if stays),
        offsets_U1=offsets_of(new_user_U[users_E[stays_E]], int(stays_U.sum())),
        items_E=new_item_N[found.items_E[stays_E]].astype(np.int32),
        times_E=found.times_E[stays_E],
        ratings_E=None if found.ratings_E is None else found.ratings_E[stays_E],
        types_E=None if found.types_E is None else found.types_E[stays_E],
        queries_E=None if queries_E is None else queries_E.filter(pa.array(stays_E)),
        embeddings_ND=None if found.embeddings_ND is None else found.embeddings_ND[stays_N],
    )


def offsets_of(users_E: npt.NDArray[np.integer], num_users: int) -> Int64:
    """Where each user's events begin, and where the last ones end, (U + 1,)."""
    return np.concatenate([[0], np.cumsum(np.bincount(users_E, minlength=num_users))]).astype(np.int64)
