"""MovieLens-100K from its two known file formats: GroupLens' own and recbole's.

Parses text only; finding and fetching the files is the business of `fetch.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from onerec.build.interactions import Event, Interactions, Item, User, gather
from onerec.errors import DataError

LICENCE = (
    "MovieLens-100K (GroupLens Research, University of Minnesota): for research use; not to be redistributed "
    "or used commercially without permission of GroupLens; say in publications that you used it and cite "
    "F. M. Harper and J. A. Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015, "
    "https://doi.org/10.1145/2827872"
)
NUM_EVENTS, NUM_USERS, NUM_ITEMS = 100_000, 943, 1682
GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
"""Genre columns of GroupLens' u.item, in order."""

YEAR_AT_END = re.compile(r"\s*\((\d{4})\)\s*$")
NO_TITLE = {"unknown", "unkonwn"}
"""Item 267 has no title: GroupLens and recbole spell that differently."""


@dataclass(frozen=True)
class Format:
    """File names of one format and how their texts become interactions."""

    events: str
    items: str
    users: str
    encoding: str
    parse_events: Callable[[str], Iterator[Event]]
    parse_items: Callable[[str], Iterator[Item]]
    parse_users: Callable[[str], Iterator[User]]

    @property
    def required(self) -> tuple[str, str]:
        """Files without which there is nothing; what is known of users may be missing."""
        return self.events, self.items

    @property
    def names(self) -> tuple[str, str, str]:
        """All files that are read."""
        return self.events, self.items, self.users


def format_of(names: set[str]) -> Format | None:
    """The format whose required files are among the names, or None."""
    return next((known for known in FORMATS if names.issuperset(known.required)), None)


def parse(files: Mapping[str, bytes]) -> Interactions:
    """Interactions from file contents by file name; raises DataError naming the file that does not fit."""
    known = format_of(set(files))
    if known is None:
        raise DataError(f"{sorted(files)} are not MovieLens-100K; it has {wanted()}")
    try:
        return gather(
            known.parse_items(files[known.items].decode(known.encoding)),
            known.parse_users(files.get(known.users, b"").decode(known.encoding)),
            known.parse_events(files[known.events].decode(known.encoding)),
        )
    except (ValueError, IndexError, KeyError) as fault:
        raise DataError(
            f"{known.events}, {known.items} or {known.users} is damaged ({fault}); fetch it again"
        ) from fault


def is_complete(interactions: Interactions) -> bool:
    """Whether these are all of MovieLens-100K's users, items and events, and no others."""
    events = sum(map(len, interactions.histories)) + interactions.repeats
    return (events, len(interactions.users), len(interactions.items)) == (NUM_EVENTS, NUM_USERS, NUM_ITEMS)


def wanted() -> str:
    """The files that make the data set, for messages."""
    return " or ".join(" and ".join(known.required) for known in FORMATS)


def _item(pid: str, title: str, year: str, genres: list[str]) -> Item:
    named_year = YEAR_AT_END.search(title)
    title = YEAR_AT_END.sub("", title).strip()
    return Item(
        pid=pid,
        title="unknown" if title in NO_TITLE else title,
        year=int(named_year[1] if named_year else year) if named_year or year.isdecimal() else None,
        genres=tuple(genre for genre in genres if genre != "unknown"),
    )


def _grouplens_events(text: str) -> Iterator[Event]:
    for line in text.splitlines():
        uid, pid, _, timestamp = line.split("\t")
        yield Event(uid, pid, int(timestamp))


def _grouplens_items(text: str) -> Iterator[Item]:
    for line in text.split("\n"):
        if line:
            pid, title, released, _, _, *flags = line.rstrip("\r").split("|")
            yield _item(pid, title, released[-4:], [GENRES[i] for i, flag in enumerate(flags) if flag == "1"])


def _grouplens_users(text: str) -> Iterator[User]:
    for line in text.splitlines():
        uid, age, gender, occupation, _ = line.split("|")
        yield User(uid, int(age), gender, occupation)


def _table(text: str) -> Iterator[dict[str, str]]:
    """Rows of a recbole atomic file: a header of `name:type`, then tab-separated values."""
    header, *lines = text.split("\n")
    names = [column.partition(":")[0] for column in header.rstrip("\r").split("\t")]
    for line in lines:
        if line:
            yield dict(zip(names, line.rstrip("\r").split("\t"), strict=True))


def _recbole_events(text: str) -> Iterator[Event]:
    return (Event(row["user_id"], row["item_id"], int(float(row["timestamp"]))) for row in _table(text))


def _recbole_items(text: str) -> Iterator[Item]:
    for row in _table(text):
        yield _item(row["item_id"], row["movie_title"], row["release_year"], row["class"].split())


def _recbole_users(text: str) -> Iterator[User]:
    for row in _table(text):
        yield User(row["user_id"], int(row["age"]), row["gender"], row["occupation"])


FORMATS = (
    Format(
        events="u.data",
        items="u.item",
        users="u.user",
        encoding="latin-1",
        parse_events=_grouplens_events,
        parse_items=_grouplens_items,
        parse_users=_grouplens_users,
    ),
    Format(
        events="ml-100k.inter",
        items="ml-100k.item",
        users="ml-100k.user",
        encoding="utf-8",
        parse_events=_recbole_events,
        parse_items=_recbole_items,
        parse_users=_recbole_users,
    ),
)
