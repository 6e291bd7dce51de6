"""Raw columns to Interactions: users, items and events ordered, odd ones treated as the policy says.

No Python object is made per event. Nothing here knows a file format.

Shapes: N items, U users, E events.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from onerec.build.interactions import Float32, Int32, Int64, Interactions, Item, User, natural_key
from onerec.build.sources.oddities import EXAMPLES, Oddities
from onerec.build.sources.trim import offsets_of, trimmed
from onerec.config.build import BuildData, Policy
from onerec.errors import DataError

Mask = npt.NDArray[np.bool_]
NO_TIME = np.iinfo(np.int64).min
"""In place of the time of an event that has none."""


@dataclass(frozen=True)
class RawEvents:
    """Events as a source has them, in its order; null or NO_TIME where a value is missing."""

    users_E: pa.StringArray
    items_E: pa.StringArray
    times_E: Int64
    """Seconds."""
    ratings_E: Float32 | None = None
    types_E: pa.StringArray | None = None
    queries_E: pa.StringArray | None = None

    def taken(self, chosen: Mask | Int64) -> RawEvents:
        """Some of the events, by a mask or by places."""
        places = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
        return RawEvents(
            users_E=self.users_E.take(pa.array(places)),
            items_E=self.items_E.take(pa.array(places)),
            times_E=self.times_E[places],
            ratings_E=None if self.ratings_E is None else self.ratings_E[places],
            types_E=None if self.types_E is None else self.types_E.take(pa.array(places)),
            queries_E=None if self.queries_E is None else self.queries_E.take(pa.array(places)),
        )


@dataclass(frozen=True)
class Raw:
    """A data set as its source has it."""

    events: RawEvents
    items: tuple[Item, ...]
    users: tuple[User, ...] = ()
    embeddings_ND: Float32 | None = None
    """In the order of `items`."""


def gather(raw: Raw, *, data: BuildData, oddities: Oddities) -> Interactions:
    """Interactions of all events whose item is described; users without events are left out.

    Items and users are ordered by natural_key, events of a user by time and then by item. Raises DataError
    with every fault at once.
    """
    policy = data.policy
    events = _whole(raw.events, policy, oddities)
    catalogue, embeddings_ND = _catalogue(raw, policy, oddities)
    numbers_E = _item_numbers(events, catalogue)
    events, numbers_E = _known(events, numbers_E, policy, oddities)
    uids, users_E = _users(events)
    _look_at_order(events, users_E, uids, policy, oddities)
    oddities.raise_faults()
    order_E = np.lexsort((numbers_E, events.times_E, users_E))
    events, numbers_E, users_E = events.taken(order_E), numbers_E[order_E], users_E[order_E]
    kept_E = _without_repeats(numbers_E, users_E, uids, catalogue, policy, oddities)
    events, numbers_E, users_E = events.taken(kept_E), numbers_E[kept_E], users_E[kept_E]
    known = {user.uid: user for user in raw.users}
    whole = _assembled(events, numbers_E, users_E, [known.get(uid, User(uid)) for uid in uids], catalogue)
    found = trimmed(replace(whole, embeddings_ND=embeddings_ND), data, oddities)
    oddities.raise_faults()
    if not found.num_events:
        raise DataError(f"{oddities.place}: no events are left; look at the policy and at min_user_events")
    return replace(found, remarks=tuple(oddities.remarks))


def _whole(events: RawEvents, policy: Policy, oddities: Oddities) -> RawEvents:
    """Events that have user, item and time."""
    missing_E = np.asarray(events.users_E.is_null()) | np.asarray(events.items_E.is_null())
    missing_E |= events.times_E == NO_TIME
    oddities.judge(
        "missing_values",
        policy.missing_values,
        count=int(missing_E.sum()),
        what="interactions lack a user, an item or a time",
        examples=(f"row {row}" for row in np.flatnonzero(missing_E)[:EXAMPLES]),
        then="left out",
    )
    return events.taken(~missing_E) if missing_E.any() else events


def _catalogue(raw: Raw, policy: Policy, oddities: Oddities) -> tuple[list[Item], Float32 | None]:
    """Items by natural_key, each once, and their vectors."""
    items = raw.items
    order = sorted(range(len(items)), key=lambda place: (natural_key(items[place].pid), place))
    again = [b for a, b in pairwise(order) if items[a].pid == items[b].pid]
    oddities.judge(
        "duplicate_items",
        policy.duplicate_items,
        count=len(again),
        what="rows describe an item that an earlier row has described",
        examples=(items[place].pid for place in again),
        then="the first counts",
    )
    left_out = set(again)
    kept = [place for place in order if place not in left_out]
    vectors = None if raw.embeddings_ND is None else raw.embeddings_ND[kept]
    return [items[place] for place in kept], vectors


def _item_numbers(events: RawEvents, catalogue: list[Item]) -> Int64:
    """Number of each event's item, -1 for one that the catalogue does not have."""
    pids = pa.array([item.pid for item in catalogue], pa.string())
    found = pc.index_in(events.items_E, value_set=pids)
    return np.asarray(found.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)


def _known(
    events: RawEvents, numbers_E: Int64, policy: Policy, oddities: Oddities
) -> tuple[RawEvents, Int64]:
    unknown_E = numbers_E < 0
    oddities.judge(
        "unknown_items",
        policy.unknown_items,
        count=int(unknown_E.sum()),
        what="interactions name an item that the table of items does not have",
        examples=(events.items_E[int(place)].as_py() for place in np.flatnonzero(unknown_E)[:EXAMPLES]),
        then="left out",
    )
    if not unknown_E.any():
        return events, numbers_E
    return events.taken(~unknown_E), numbers_E[~unknown_E]


def _users(events: RawEvents) -> tuple[list[str], Int64]:
    """Users in natural order, and the number of each event's user."""
    encoded = events.users_E.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=lambda place: natural_key(names[place]))
    number_of = np.empty(len(names), dtype=np.int64)
    number_of[order] = np.arange(len(names))
    return [names[place] for place in order], number_of[np.asarray(encoded.indices)]


def _look_at_order(
    events: RawEvents, users_E: Int64, uids: list[str], policy: Policy, oddities: Oddities
) -> None:
    """Users whose events the source does not have in order of time."""
    order_E = np.argsort(users_E, kind="stable")
    same_E = np.diff(users_E[order_E]) == 0
    back_E = same_E & (np.diff(events.times_E[order_E]) < 0)
    untidy = np.unique(users_E[order_E][1:][back_E])
    # sources are rarely ordered by time: that it is sorted need not be told
    if policy.unordered_times == "error":
        oddities.judge(
            "unordered_times",
            "error",
            count=len(untidy),
            what="users have events that do not stand in order of time",
            examples=(uids[user] for user in untidy[:EXAMPLES]),
            then="",
        )
    elif len(untidy):
        oddities.note(
            f"events of {len(untidy):,} users did not stand in order of time: sorted (policy.unordered_times)"
        )


def _without_repeats(
    numbers_E: Int64,
    users_E: Int64,
    uids: list[str],
    catalogue: list[Item],
    policy: Policy,
    oddities: Oddities,
) -> Mask:
    """Which events stay, when a user meets an item again."""
    pair_E = users_E * len(catalogue) + numbers_E
    source_E = pair_E if policy.repeats != "last" else pair_E[::-1]
    first_E = np.zeros(len(pair_E), dtype=bool)
    first_E[np.unique(source_E, return_index=True)[1]] = True
    kept_E = first_E if policy.repeats != "last" else first_E[::-1]
    repeats = np.flatnonzero(~kept_E)
    done = {"first": "the first counts", "last": "the last counts", "keep": "each counts"}
    oddities.judge(
        "repeats",
        policy.repeats,
        count=len(repeats),
        what="events are of a user with an item that the user meets more than once",
        examples=(
            f"user {uids[users_E[place]]} and item {catalogue[numbers_E[place]].pid}"
            for place in repeats[:EXAMPLES]
        ),
        then=done.get(policy.repeats, ""),
    )
    return np.ones(len(pair_E), dtype=bool) if policy.repeats in {"keep", "error"} else kept_E


def _assembled(
    events: RawEvents, numbers_E: Int64, users_E: Int64, users: list[User], catalogue: list[Item]
) -> Interactions:
    types_E: Int32 | None = None
    names: tuple[str, ...] = ()
    if events.types_E is not None:
        encoded = events.types_E.dictionary_encode()
        names = tuple(encoded.dictionary.to_pylist())
        types_E = np.asarray(encoded.indices.fill_null(-1), dtype=np.int32)
    return Interactions(
        items=tuple(catalogue),
        users=tuple(users),
        offsets_U1=offsets_of(users_E, len(users)),
        items_E=numbers_E.astype(np.int32),
        times_E=events.times_E,
        ratings_E=events.ratings_E,
        types_E=types_E,
        type_names=names,
        queries_E=events.queries_E,
    )
