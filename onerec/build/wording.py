"""What rows about films say, in English and Chinese.

Which of several wordings a row gets depends only on the seed and the row's key, never on the order of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from onerec.build.interactions import Item, User

HISTORIES = (
    "{history}",
    "{history}",
    "{history}",
    "{history}",
    "A viewer watched these films, in this order: {history}",
    "Films seen by one person, oldest first: {history}",
    "One viewer's history of films: {history}",
    "一位用户按时间顺序看过的电影：{history}",
)
"""Half of the histories stand alone."""

ITEM_TO_TEXT = (
    "{item} is the film {title}.{genres}",
    "{item}: {title}.{genres}",
    "{item} 是电影《{title}》。{genres}",
)
TEXT_TO_ITEM = (
    "The film {title} has the id {item}",
    "{title}.{genres} {item}",
    "电影《{title}》的编号是 {item}",
)

NEXT_ITEM = (
    "A viewer watched these films, oldest first: {history}\nWhich film does the viewer watch next?",
    "Here is what one person has seen, in order of time: {history}\nPredict the next film.",
    "Viewing history: {history}\nRecommend the film that follows.",
    "Given the films {history}, watched in this order, name the next one.",
    "用户按时间顺序观看了以下电影：{history}\n请预测用户接下来会观看的电影。",
    "观看历史：{history}\n请推荐下一部电影。",
)

DESCRIBE_ITEM = (
    "Which film is {item}?",
    "Tell me the title and the genres of {item}.",
    "{item} 是哪部电影？",
)


def chosen(options: Sequence[str], *, seed: int, key: str) -> str:
    """One of the wordings, by a hash of seed and key."""
    digest = blake2b(f"{seed}/{key}".encode(), digest_size=8).digest()
    return options[int.from_bytes(digest, "big") % len(options)]


def title_of(item: Item) -> str:
    """`Toy Story (1995)`."""
    return item.title if item.year is None else f"{item.title} ({item.year})"


def genres_of(item: Item) -> str:
    """` Genres: Animation, Comedy.` with its leading blank, or nothing."""
    return f" Genres: {', '.join(item.genres)}." if item.genres else ""


def description_of(item: Item) -> str:
    """`Toy Story (1995). Genres: Animation, Comedy.`."""
    return f"{title_of(item)}.{genres_of(item)}"


def profile_of(user: User, genres: Sequence[str], films: Sequence[str]) -> str:
    """One user in words: who it is, genres from the most liked on, and the films seen last."""
    who = {"M": "man", "F": "woman"}.get(user.gender or "", "person")
    age = "" if user.age is None else f"{user.age}-year-old "
    work = f" (occupation: {user.occupation})" if user.occupation else ""
    likes = f" Favourite genres: {', '.join(genres)}." if genres else ""
    return f"A viewer: {age}{who}{work}.{likes} Films seen lately: {'; '.join(films)}."
