"""Raw columns to Interactions: users, items and events ordered, odd ones treated as the policy says.

No Python object is made per event. Nothing here knows a file format.

Shapes: N items, U users, E events as the source has them, K events that are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from onerec.build.interactions import Float32, Int32, Int64, Interactions, Item, User, natural_key
from onerec.build.sources.oddities import EXAMPLES, Oddities, Rows
from onerec.build.sources.trim import offsets_of, trimmed
from onerec.config.build import BuildData, Policy
from onerec.errors import DataError

Mask = npt.NDArray[np.bool_]
NO_TIME = np.iinfo(np.int64).min
"""In place of the time of an event that has none."""


@dataclass(frozen=True)
class RawEvents:
    """Events as a source has them, in its order; null or NO_TIME where a value is missing."""

    users_E: pa.Array
    """Strings, or a dictionary of strings."""
    items_E: pa.Array
    """Strings, or a dictionary of strings."""
    times_E: Int64
    """Seconds."""
    ratings_E: Float32 | None = None
    types_E: pa.Array | None = None
    """Strings, or a dictionary of strings."""
    queries_E: pa.StringArray | pa.ChunkedArray | None = None
    rows: Rows = field(default_factory=Rows)


@dataclass(frozen=True)
class Raw:
    """A data set as its source has it."""

    events: RawEvents
    items: tuple[Item, ...]
    """An item that the source gives no id has the pid ""."""
    users: tuple[User, ...] = ()
    embeddings_ND: Float32 | None = None
    """In the order of `items`; a row of NaN where an item has none."""
    item_rows: Rows = field(default_factory=Rows)


def gather(raw: Raw, *, data: BuildData, oddities: Oddities) -> Interactions:
    """Interactions of all events whose item is described; users without events are left out.

    Items and users are ordered by natural_key, events of a user by time, then by item, then as the source has
    them. Raises DataError with every fault at once.
    """
    policy, events = data.policy, raw.events
    catalogue, embeddings_ND = _catalogue(raw, policy, oddities)
    numbers_E = _item_numbers(events, catalogue)
    uids, users_E = _numbered(events.users_E)
    kept_K = np.flatnonzero(_usable(events, numbers_E, users_E, len(catalogue), policy, oddities))
    _look_at_order(events, users_E[kept_K], kept_K, uids, policy, oddities)
    kept_K = kept_K[np.lexsort((numbers_E[kept_K], events.times_E[kept_K], users_E[kept_K]))]
    kept_K = _without_repeats(kept_K, numbers_E, users_E, events, policy, oddities)
    known = {user.uid: user for user in raw.users}
    whole = Interactions(
        items=tuple(catalogue),
        users=tuple(known.get(uid, User(uid)) for uid in uids),
        offsets_U1=offsets_of(users_E[kept_K], len(uids)),
        items_E=numbers_E[kept_K],
        times_E=events.times_E[kept_K],
        ratings_E=None if events.ratings_E is None else events.ratings_E[kept_K],
        queries_E=_queries(events, kept_K),
        embeddings_ND=embeddings_ND,
    )
    found = trimmed(_with_types(whole, events, kept_K), data, oddities)
    _look_at_embeddings(found, oddities)
    oddities.raise_faults()
    if not found.num_events:
        raise DataError(
            f"{oddities.place}: no events are left of {len(numbers_E):,}; "
            "look at policy, min_user_events and min_item_events"
        )
    return replace(found, remarks=tuple(oddities.remarks))


def _catalogue(raw: Raw, policy: Policy, oddities: Oddities) -> tuple[list[Item], Float32 | None]:
    """Items by natural_key, each once, and their vectors."""
    items = raw.items
    nameless = [place for place, item in enumerate(items) if not item.pid]
    oddities.judge(
        "missing_values",
        policy.missing_values,
        count=len(nameless),
        what="items without an id",
        examples=map(raw.item_rows.place, nameless),
        then="left out",
    )
    named = (place for place, item in enumerate(items) if item.pid)
    order = sorted(named, key=lambda place: (natural_key(items[place].pid), place))
    again = [b for a, b in pairwise(order) if items[a].pid == items[b].pid]
    oddities.judge(
        "duplicate_items",
        policy.duplicate_items,
        count=len(again),
        what="rows about an item that an earlier row describes",
        examples=(f"{raw.item_rows.place(place)}: item {items[place].pid!r}" for place in again),
        then="the first counts",
    )
    left_out = set(again)
    kept = [place for place in order if place not in left_out]
    return [items[place] for place in kept], None if raw.embeddings_ND is None else raw.embeddings_ND[kept]


def _encoded(names_E: pa.Array) -> tuple[list[str], Int32]:
    """Distinct names, and the place of each event's among them; -1 for null."""
    encoded = names_E if isinstance(names_E, pa.DictionaryArray) else names_E.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return encoded.dictionary.to_pylist(), np.asarray(codes, dtype=np.int32)


def _numbered(names_E: pa.Array) -> tuple[list[str], Int32]:
    """Distinct names in natural order, and the place of each event's among them; -1 for null."""
    names, codes_E = _encoded(names_E)
    order = sorted(range(len(names)), key=lambda place: natural_key(names[place]))
    number_of = np.full(len(names) + 1, -1, dtype=np.int32)  # the last stands for null, whose code is -1
    number_of[order] = np.arange(len(names))
    return [names[place] for place in order], number_of[codes_E]


def _item_numbers(events: RawEvents, catalogue: list[Item]) -> Int32:
    """Number of each event's item, -1 for one that the catalogue does not have."""
    number_of = {item.pid: number for number, item in enumerate(catalogue)}
    names, codes_E = _encoded(events.items_E)
    numbers = np.array([*(number_of.get(name, -1) for name in names), -1], dtype=np.int32)
    return numbers[codes_E]


def _usable(
    events: RawEvents, numbers_E: Int32, users_E: Int32, num_items: int, policy: Policy, oddities: Oddities
) -> Mask:
    """Events that have user, item and time, and whose item the catalogue has."""
    no_item_E = np.asarray(events.items_E.is_null())
    missing_E = no_item_E | (users_E < 0) | (events.times_E == NO_TIME)
    oddities.judge(
        "missing_values",
        policy.missing_values,
        count=int(missing_E.sum()),
        what="interactions without a user, an item or a time",
        examples=map(events.rows.place, np.flatnonzero(missing_E)[:EXAMPLES].tolist()),
        then="left out",
    )
    unknown_E = (numbers_E < 0) & ~missing_E
    chosen = np.flatnonzero(unknown_E)
    distinct = len(pc.unique(events.items_E.take(pa.array(chosen)))) if len(chosen) else 0
    oddities.judge(
        "unknown_items",
        policy.unknown_items,
        count=len(chosen),
        what=f"interactions with items ({distinct:,} of them) that are not among the {num_items:,} described",
        examples=(
            f"{events.rows.place(row)}: item {events.items_E[row].as_py()!r}" for row in chosen.tolist()
        ),
        then="left out",
    )
    return ~missing_E & ~unknown_E


def _look_at_order(
    events: RawEvents, users_K: Int32, kept_K: Int64, uids: list[str], policy: Policy, oddities: Oddities
) -> None:
    """Users whose events the source does not have in order of time."""
    order_K = np.argsort(users_K, kind="stable")
    users_K = users_K[order_K]
    is_back_K = (np.diff(users_K) == 0) & (np.diff(events.times_E[kept_K[order_K]]) < 0)
    untidy = np.unique(users_K[1:][is_back_K])
    oddities.judge(
        "unordered_times",
        policy.unordered_times,
        count=len(untidy),
        what="users whose events do not stand in order of time",
        examples=(f"user {uids[user]}" for user in untidy[:EXAMPLES]),
        then="sorted",
    )


def _without_repeats(
    kept_K: Int64, numbers_E: Int32, users_E: Int32, events: RawEvents, policy: Policy, oddities: Oddities
) -> Int64:
    """Events that stay when a user meets an item again; `kept_K` is in order of users and time."""
    pairs_K = users_E[kept_K].astype(np.int64) * (int(numbers_E.max(initial=0)) + 1) + numbers_E[kept_K]
    ordered_K = pairs_K[::-1] if policy.repeats == "last" else pairs_K
    is_first_K = np.zeros(len(pairs_K), dtype=bool)
    is_first_K[np.unique(ordered_K, return_index=True)[1]] = True
    stays_K = is_first_K[::-1] if policy.repeats == "last" else is_first_K
    again = kept_K[~stays_K]
    oddities.judge(
        "repeats",
        policy.repeats,
        count=len(again),
        what="interactions of a user with an item that the user meets more than once",
        examples=(f"user {events.users_E[row]}, item {events.items_E[row]}" for row in again.tolist()),
        then="each counts" if policy.repeats == "keep" else f"the {policy.repeats} one counts",
    )
    return kept_K if policy.repeats in {"keep", "error"} else kept_K[stays_K]


def _queries(events: RawEvents, kept_K: Int64) -> pa.StringArray | None:
    if events.queries_E is None:
        return None
    taken = events.queries_E.take(pa.array(kept_K))
    return taken.combine_chunks() if isinstance(taken, pa.ChunkedArray) else taken


def _with_types(found: Interactions, events: RawEvents, kept_K: Int64) -> Interactions:
    """With the types of events, their names in order of the alphabet."""
    if events.types_E is None:
        return found
    names, codes_E = _encoded(events.types_E)
    order = sorted(range(len(names)), key=names.__getitem__)
    number_of = np.full(len(names) + 1, -1, dtype=np.int32)
    number_of[order] = np.arange(len(names))
    return replace(
        found, types_E=number_of[codes_E[kept_K]], type_names=tuple(names[place] for place in order)
    )


def _look_at_embeddings(found: Interactions, oddities: Oddities) -> None:
    if found.embeddings_ND is not None:
        missing = np.flatnonzero(np.isnan(found.embeddings_ND).any(axis=1))
        oddities.fault(
            count=len(missing),
            what=f"items, of {len(found.items):,}, that have no embedding",
            examples=(f"item {found.items[item].pid}" for item in missing[:EXAMPLES]),
            remedy="give each item one, or leave these items out of the table",
        )
