"""Items, users and their events in time order, column by column, so that millions of them fit into memory.

Every source is brought into this form; nothing here knows where the data came from.

Shapes: N items, U users, E events. The events of user u stand at offsets_U1[u] to offsets_U1[u + 1].
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Item:
    """One item and what is written about it."""

    pid: str
    title: str = ""
    year: int | None = None
    categories: tuple[str, ...] = ()
    text: str = ""

    @property
    def has_text(self) -> bool:
        """Whether anything is written about it."""
        return bool(self.title or self.text)


@dataclass(frozen=True)
class User:
    """One user; a source that tells nothing but the name leaves the rest None."""

    uid: str
    age: int | None = None
    gender: str | None = None
    occupation: str | None = None


@dataclass(frozen=True)
class Interactions:
    """A data set. Within a user events are ordered by time, then by item; items and users by natural_key."""

    items: tuple[Item, ...]
    users: tuple[User, ...]
    offsets_U1: Int64
    items_E: Int32
    """Number of each event's item: its place in `items`."""
    times_E: Int64
    """Seconds."""
    ratings_E: Float32 | None = None
    """NaN where an event has none."""
    types_E: Int32 | None = None
    """Place in `type_names`; -1 where an event has none."""
    type_names: tuple[str, ...] = ()
    queries_E: pa.StringArray | None = None
    """What the user asked for; null where nothing is known."""
    embeddings_ND: Float32 | None = None
    """Given vectors of the items."""
    remarks: tuple[str, ...] = field(default=())
    """What was found odd and what was done about it, in lines for people, with counts and examples."""

    @property
    def num_events(self) -> int:
        """E."""
        return len(self.items_E)

    def history(self, user: int) -> Int32:
        """Items of all events of one user, oldest first."""
        return self.items_E[self.offsets_U1[user] : self.offsets_U1[user + 1]]

    @property
    def users_of_events(self) -> Int32:
        """Number of each event's user."""
        return np.repeat(np.arange(len(self.users), dtype=np.int32), np.diff(self.offsets_U1))


def natural_key(identifier: str) -> tuple[int, int, str]:
    """Order of ids: whole numbers by value and first, then everything else as text."""
    return (0, int(identifier), identifier) if identifier.isdecimal() else (1, 0, identifier)
