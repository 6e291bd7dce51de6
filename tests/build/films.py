"""A small made-up film data set, and the files of both formats for it or for one of MovieLens-100K's size."""

import random
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from onerec.build.interactions import Item, User
from onerec.build.sources.gather import Raw, RawEvents, gather
from onerec.build.sources.movielens import GENRES, ML_100K
from onerec.build.sources.oddities import Oddities
from onerec.config.build import BuildData

ADJECTIVES = ("Red", "Lost", "Last", "Silent", "Golden", "Broken", "Étrange")
NOUNS = ("River", "King", "Summer", "Train", "House", "Garden", "Dream")
SETTINGS = BuildData(source="movielens-100k")


class Event(NamedTuple):
    """A user saw a film and gave it 1 to 5 stars."""

    uid: str
    pid: str
    timestamp: int

    @property
    def rating(self):
        return 1 + (int(self.uid) * 7 + int(self.pid) * 3) % 5


def items(count):
    chosen = random.Random(1)
    return [
        Item(
            pid=str(number),
            title=f"{chosen.choice(ADJECTIVES)} {chosen.choice(NOUNS)}, The (No. {number})",
            year=chosen.randrange(1950, 1999) if number != 3 else None,
            categories=tuple(sorted(chosen.sample(GENRES[1:], k=number % 3))),
        )
        for number in range(1, count + 1)
    ]


def users(count):
    jobs = ("writer", "doctor", "other")
    return [User(str(n), 18 + n % 50, "MF"[n % 2], jobs[n % 3]) for n in range(1, count + 1)]


def events(num_users, num_items, each):
    """`each` different films per user, many at the same second."""
    chosen = random.Random(2)
    return [
        Event(str(user), str(pid), 880_000_000 + place // 3)
        for user in range(1, num_users + 1)
        for place, pid in enumerate(chosen.sample(range(1, num_items + 1), k=each))
    ]


def whole_size():
    """Items, users and events in the numbers of MovieLens-100K."""
    each, extra = divmod(ML_100K.num_events, ML_100K.num_users)
    watched = [
        Event(str(user + 1), str((user * 7 + place) % ML_100K.num_items + 1), 880_000_000 + place)
        for user in range(ML_100K.num_users)
        for place in range(each + (user < extra))
    ]
    return items(ML_100K.num_items), users(ML_100K.num_users), watched


def raw(items, users, events):
    """These as a source has them, in columns."""
    return Raw(
        events=RawEvents(
            users_E=pa.array([event.uid for event in events], pa.string()),
            items_E=pa.array([event.pid for event in events], pa.string()),
            times_E=np.array([event.timestamp for event in events], dtype=np.int64),
            ratings_E=np.array([event.rating for event in events], dtype=np.float32),
        ),
        items=tuple(items),
        users=tuple(users),
    )


def interactions(items, users, events, data=SETTINGS):
    """These as the parts of the build get them, with ratings and under the policy of `data`."""
    return gather(raw(items, users, events), data=data, oddities=Oddities("films"))


def grouplens_files(items, users, events):
    def item_line(item):
        year = "" if item.year is None else f" ({item.year})"
        released = "" if item.year is None else f"01-Jan-{item.year}"
        genres = item.categories or ("unknown",)
        flags = "|".join("1" if genre in genres else "0" for genre in GENRES)
        return f"{item.pid}|{item.title}{year}|{released}||http://example.org/{item.pid}|{flags}\n"

    return {
        "u.data": "".join(f"{e.uid}\t{e.pid}\t{e.rating}\t{e.timestamp}\n" for e in events).encode(),
        "u.item": "".join(map(item_line, items)).encode("latin-1"),
        "u.user": "".join(f"{u.uid}|{u.age}|{u.gender}|{u.occupation}|00000\n" for u in users).encode(),
    }


def recbole_files(items, users, events):
    def table(header, lines):
        return "".join(f"{line}\n" for line in [header, *lines]).encode()

    return {
        "ml-100k.inter": table(
            "user_id:token\titem_id:token\trating:float\ttimestamp:float",
            [f"{e.uid}\t{e.pid}\t{e.rating}\t{e.timestamp}" for e in events],
        ),
        "ml-100k.item": table(
            "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
            [
                f"{i.pid}\t{i.title}\t{i.year or 'unkonwn'}\t{' '.join(i.categories) or 'unknown'}"
                for i in items
            ],
        ),
        "ml-100k.user": table(
            "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token",
            [f"{u.uid}\t{u.age}\t{u.gender}\t{u.occupation}\t00000" for u in users],
        ),
    }


def write(files, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder
