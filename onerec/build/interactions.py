"""Items, users and their histories in time order, and the split that keeps each last item apart.

Every source is brought into this form; nothing here knows where the data came from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from onerec.errors import DataError

History = tuple[int, ...]
"""Item numbers (places in `Interactions.items`) of one user, oldest first."""


@dataclass(frozen=True)
class Item:
    """One item and what is written about it."""

    pid: str
    title: str
    year: int | None
    genres: tuple[str, ...]


@dataclass(frozen=True)
class User:
    """One user; a source that tells nothing but the name leaves the rest None."""

    uid: str
    age: int | None = None
    gender: str | None = None
    occupation: str | None = None


@dataclass(frozen=True)
class Event:
    """One user met one item at a time in seconds."""

    uid: str
    pid: str
    timestamp: int


@dataclass(frozen=True)
class Interactions:
    """A data set; `histories[i]` belongs to `users[i]` and holds each item at most once."""

    items: tuple[Item, ...]
    users: tuple[User, ...]
    histories: tuple[History, ...]
    repeats: int
    """Events left out because the same user had met the same item before."""


@dataclass(frozen=True)
class Split:
    """`train[i]` is the history of user i without its last item, which is `heldout[i]`.

    A user with a single event has no held-out item: None.
    """

    train: tuple[History, ...]
    heldout: tuple[int | None, ...]

    def popularity(self, num_items: int) -> list[int]:
        """Number of training events of each item."""
        counts = [0] * num_items
        for history in self.train:
            for item in history:
                counts[item] += 1
        return counts


def gather(items: Iterable[Item], users: Iterable[User], events: Iterable[Event]) -> Interactions:
    """Order everything: items and users by id, events by (timestamp, item id).

    Users without events are left out. Raises DataError for an event whose item is not described.
    """
    ordered_items = tuple(sorted(items, key=lambda item: natural_key(item.pid)))
    number_of = {item.pid: number for number, item in enumerate(ordered_items)}
    known = {user.uid: user for user in users}
    by_user: dict[str, list[tuple[int, int]]] = {}
    for event in events:
        if event.pid not in number_of:
            raise DataError(f"user {event.uid} met item {event.pid}, which the item file does not describe")
        by_user.setdefault(event.uid, []).append((event.timestamp, number_of[event.pid]))
    uids = sorted(by_user, key=natural_key)
    histories = tuple(tuple(dict.fromkeys(item for _, item in sorted(by_user[uid]))) for uid in uids)
    return Interactions(
        items=ordered_items,
        users=tuple(known.get(uid, User(uid)) for uid in uids),
        histories=histories,
        repeats=sum(map(len, by_user.values())) - sum(map(len, histories)),
    )


def natural_key(identifier: str) -> tuple[int, int, str]:
    """Order of ids: whole numbers by value and first, then everything else as text."""
    return (0, int(identifier), identifier) if identifier.isdecimal() else (1, 0, identifier)


def split_last(histories: tuple[History, ...]) -> Split:
    """Hold the last item of every history of two items or more out."""
    return Split(
        train=tuple(history[:-1] if len(history) > 1 else history for history in histories),
        heldout=tuple(history[-1] if len(history) > 1 else None for history in histories),
    )
