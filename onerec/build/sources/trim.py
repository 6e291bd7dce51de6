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

    Nobody is left with too few events because others were left out (k-core). Faults are gathered in
    `oddities`.
    """
    num_events, policy = found.num_events, data.policy
    found = _without_untold(found, data, oddities)
    stays_N, stays_U = _core(
        found,
        min_user_events=max(data.min_user_events, 2 if policy.users_with_one_event == "drop" else 1),
        min_item_events=max(data.min_item_events, int(policy.items_without_interactions == "drop")),
    )
    _tell_core(found, stays_N, stays_U, data, oddities)
    found = without(found, stays_N, stays_U)
    _judge_rest(found, data, oddities)
    if found.num_events < num_events:
        oddities.note(f"events left out with these users and items: {num_events - found.num_events:,}")
    return found


def _without_untold(found: Interactions, data: BuildData, oddities: Oddities) -> Interactions:
    choice = data.policy.items_without_text
    is_untold_N = np.array([not item.has_text for item in found.items], dtype=bool)
    _judge_items(
        oddities,
        "items_without_text",
        choice,
        found=found,
        odd_N=is_untold_N,
        what="items with neither title nor text",
        then="left out" if choice == "drop" else "kept, without rows about them",
    )
    return without(found, ~is_untold_N, _all(found.users)) if choice == "drop" else found


def _core(found: Interactions, *, min_user_events: int, min_item_events: int) -> tuple[Mask, Mask]:
    """Which items and users stay when all others are left out, again and again until each has enough."""
    users_E, items_E = found.users_of_events, found.items_E
    while True:
        counts_U = np.bincount(users_E, minlength=len(found.users))
        counts_N = np.bincount(items_E, minlength=len(found.items))
        stays_U, stays_N = counts_U >= min_user_events, counts_N >= min_item_events
        stays_E = stays_U[users_E] & stays_N[items_E]
        if stays_E.all():
            return stays_N, stays_U
        users_E, items_E = users_E[stays_E], items_E[stays_E]


def _tell_core(
    found: Interactions, stays_N: Mask, stays_U: Mask, data: BuildData, oddities: Oddities
) -> None:
    """Say who is left out, and by which key: the numbers where they ask for more than the policy."""
    lost_U = np.flatnonzero(~stays_U & (np.diff(found.offsets_U1) > 0))
    uids = (f"user {found.users[user].uid}" for user in lost_U[:EXAMPLES])
    if data.min_user_events > 1:
        what = f"users with fewer than {data.min_user_events} events"
        oddities.drop("min_user_events", count=len(lost_U), what=what, examples=uids)
    else:
        what = "users with one event, of which nothing can be held out"
        oddities.drop("policy.users_with_one_event", count=len(lost_U), what=what, examples=uids)
    lost_N = np.flatnonzero(~stays_N)
    pids = (f"item {found.items[item].pid}" for item in lost_N[:EXAMPLES])
    if data.min_item_events > 0:
        what = f"items with fewer than {data.min_item_events} events"
        oddities.drop("min_item_events", count=len(lost_N), what=what, examples=pids)
    else:
        what = "items without interactions"
        oddities.drop("policy.items_without_interactions", count=len(lost_N), what=what, examples=pids)


def _judge_rest(found: Interactions, data: BuildData, oddities: Oddities) -> None:
    """What the policy keeps or refuses among those who stay."""
    is_lonely_U = np.diff(found.offsets_U1) == 1
    oddities.judge(
        "users_with_one_event",
        data.policy.users_with_one_event,
        count=int(is_lonely_U.sum()),
        what="users with one event, of which nothing can be held out",
        examples=(f"user {found.users[user].uid}" for user in np.flatnonzero(is_lonely_U)[:EXAMPLES]),
        then="trained on, not evaluated",
    )
    _judge_items(
        oddities,
        "items_without_interactions",
        data.policy.items_without_interactions,
        found=found,
        odd_N=np.bincount(found.items_E, minlength=len(found.items)) == 0,
        what="items without interactions",
        then="kept, their ids come from what is written about them",
    )


def _judge_items(
    oddities: Oddities, key: str, choice: str, *, found: Interactions, odd_N: Mask, what: str, then: str
) -> None:
    oddities.judge(
        key,
        choice,
        count=int(odd_N.sum()),
        what=what,
        examples=(f"item {found.items[item].pid}" for item in np.flatnonzero(odd_N)[:EXAMPLES]),
        then=then,
    )


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


def _all(things: tuple[object, ...]) -> Mask:
    return np.ones(len(things), dtype=bool)


def offsets_of(users_E: npt.NDArray[np.integer], num_users: int) -> Int64:
    """Where each user's events begin, and where the last ones end, (U + 1,)."""
    return np.concatenate([[0], np.cumsum(np.bincount(users_E, minlength=num_users))]).astype(np.int64)
