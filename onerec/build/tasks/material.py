"""All that rows are made of, as columns: items and users in words, spelled items, what events mean.

Texts are escaped for JSON once, here. Nothing here knows a kind of row.

Shapes: N items, U users, E events, R rows, H items of R histories.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from onerec.build.interactions import Int32, Int64, Interactions, Item
from onerec.build.split import Split
from onerec.build.tasks.columns import Text, is_empty, joined, taken, texts
from onerec.build.tasks.templates import Templates
from onerec.config import BuildData
from onerec.vocab import ITEMIC_PATTERN

TEXT_CHARACTERS = 500
"""Longest description in a row; a longer one is cut after a word."""
LIKES = "likes"
"""The type of events whose rating is positive, where the data has ratings only."""

USERS_PER_BLOCK = 4096
"""Users whose rows are listed at a time, by numbers."""
ROWS_PER_TABLE = 1000
"""Rows whose texts exist at a time."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Types:
    """What the user did in each event."""

    types_E: Int32
    """Place in `names`; -1 where it is not known."""
    names: tuple[str, ...]


@dataclass(frozen=True)
class Labels:
    """Whether the user liked the item of each event, where it is known."""

    known_E: Mask
    positive_E: Mask
    asked: tuple[str, ...]
    """The types that count as liked."""


@dataclass(frozen=True)
class Material:
    """`spelled_N` is the itemic text of each item."""

    interactions: Interactions
    split: Split
    spelled_N: Text
    templates: Templates
    data: BuildData
    seed: int

    @cached_property
    def is_trained(self) -> Mask:
        """Whether each event may be trained on, (E,)."""
        return self.split.is_trained(self.interactions)

    @cached_property
    def can_ask(self) -> Mask:
        """Whether each event may be asked for in training, (E,): a user's first has no history before it."""
        is_first = np.zeros(self.interactions.num_events, dtype=bool)
        offsets_U1 = self.interactions.offsets_U1
        is_first[offsets_U1[:-1][np.diff(offsets_U1) > 0]] = True
        return self.is_trained & ~is_first

    @cached_property
    def uids(self) -> Text:
        """Names of users, (U,)."""
        return texts(user.uid for user in self.interactions.users)

    @cached_property
    def pids(self) -> Text:
        """Ids of items, (N,)."""
        return texts(item.pid for item in self.interactions.items)

    @cached_property
    def titles(self) -> Text:
        """Titles, (N,); the description of an item that has none."""
        return texts(title_of(item) for item in self.interactions.items)

    @cached_property
    def descriptions(self) -> Text:
        """Descriptions, (N,), where they are not the title already."""
        return texts(description_of(item) for item in self.interactions.items)

    @cached_property
    def years(self) -> Text:
        """Years, (N,), empty where unknown."""
        return texts("" if item.year is None else str(item.year) for item in self.interactions.items)

    @cached_property
    def category_lists(self) -> Text:
        """Categories of each item in one text, (N,)."""
        return texts(clean(", ".join(item.categories)) for item in self.interactions.items)

    @cached_property
    def categories(self) -> tuple[Text, Int64, Int64]:
        """Names in their order, and of each item, from its offset to the next, the numbers of its own."""
        own_N = [dict.fromkeys(filter(None, map(clean, item.categories))) for item in self.interactions.items]
        names = sorted({name for own in own_N for name in own})
        number_of = {name: number for number, name in enumerate(names)}
        offsets_N1 = np.concatenate([[0], np.cumsum([len(own) for own in own_N])]).astype(np.int64)
        numbers_P = np.array([number_of[name] for own in own_N for name in own], dtype=np.int64)
        return texts(names), offsets_N1, numbers_P

    @cached_property
    def has_text(self) -> Mask:
        """Whether anything is written about each item, (N,)."""
        return np.array([item.has_text for item in self.interactions.items], dtype=bool)

    @cached_property
    def types(self) -> Types | None:
        """What users did: as the data tells, or else likes where it has ratings."""
        found, least = self.interactions, self.data.positive_rating
        if found.types_E is not None:
            return Types(found.types_E, found.type_names)
        if found.ratings_E is None or least is None:
            return None
        return Types(np.where(found.ratings_E >= least, 0, -1).astype(np.int32), (LIKES,))

    @cached_property
    def labels(self) -> Labels | None:
        """What users liked, by positive_rating and positive_types; None where neither tells."""
        found, data = self.interactions, self.data
        known_E, positive_E = (np.zeros(found.num_events, dtype=bool) for _ in range(2))
        asked: tuple[str, ...] = ()
        if found.ratings_E is not None and data.positive_rating is not None:
            known_E |= ~np.isnan(found.ratings_E)
            positive_E |= found.ratings_E >= data.positive_rating
            asked += (LIKES,)
        if found.types_E is not None and data.positive_types:
            known_E |= found.types_E >= 0
            liked = [place for place, name in enumerate(found.type_names) if name in data.positive_types]
            positive_E |= np.isin(found.types_E, liked)
            asked += data.positive_types
        return Labels(known_E, positive_E, asked) if asked else None

    @cached_property
    def has_query(self) -> Mask | None:
        """Whether the user asked in words before each event, (E,); None where the data has no queries."""
        queries_E = self.interactions.queries_E
        if queries_E is None:
            return None
        is_blank = is_empty(pc.utf8_trim_whitespace(pc.fill_null(queries_E, "")))
        return np.asarray(~is_blank.to_numpy(zero_copy_only=False), dtype=bool)

    def histories(self, begins_R: Int64, ends_R: Int64) -> Text:
        """Itemic text of the events from begin to end of each row, which are places among all events."""
        events_H, _ = ranges(begins_R, ends_R)
        return joined(taken(self.spelled_N, self.interactions.items_E[events_H]), ends_R - begins_R)


def title_of(item: Item) -> str:
    """What an item is called: the beginning of its description where it has no title."""
    return clean(item.title) or shortened(clean(item.text))


def description_of(item: Item) -> str:
    """An item's description where the title does not say it already, not longer than rows may have it."""
    return shortened(clean(item.text)) if clean(item.title) else ""


def shortened(text: str) -> str:
    """A text cut after a word where it is too long."""
    if len(text) <= TEXT_CHARACTERS:
        return text
    words, blank, _ = text[: TEXT_CHARACTERS + 1].rpartition(" ")
    return words.rstrip() if blank else text[:TEXT_CHARACTERS]


def clean(text: str) -> str:
    """A text of others without anything that reads as an itemic token, blanks made single."""
    while "<" in text and ITEMIC_PATTERN.search(text):  # what is left of one may make up another
        text = ITEMIC_PATTERN.sub("", text)
    return " ".join(text.split())


def ranges(begins_R: Int64, ends_R: Int64) -> tuple[Int64, Int64]:
    """All whole numbers from begin to end of each row, one row after the other, and their rows."""
    lengths_R = ends_R - begins_R
    rows_H = np.repeat(np.arange(len(lengths_R)), lengths_R)
    starts_R = np.cumsum(lengths_R) - lengths_R
    return np.arange(len(rows_H)) - starts_R[rows_H] + begins_R[rows_H], rows_H


def blocks(total: int, size: int) -> Iterator[Int64]:
    """0 to total in consecutive pieces."""
    for begin in range(0, total, size):
        yield np.arange(begin, min(begin + size, total))
