"""Rows of the three sets: texts for pretraining, chats for fine-tuning, and one held-out chat per user.

Only the test rows see what the split holds out. Rows come one by one and depend on nothing but the material.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from onerec.build import wording
from onerec.build.interactions import History, Item, Split, User
from onerec.build.rows import Row

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "onerec-runner:build_data:movielens-100k")
FAVOURITE_GENRES = 3
FILMS_OF_PROFILE = 3


@dataclass(frozen=True)
class Material:
    """All that rows are made of; `spellings[i]` is the itemic text of `items[i]`."""

    items: tuple[Item, ...]
    users: tuple[User, ...]
    split: Split
    spellings: tuple[str, ...]
    window_items: int
    history_length: int
    samples_per_user: int
    seed: int

    def spelled(self, history: History) -> str:
        """A history as itemic text."""
        return "".join(self.spellings[item] for item in history)


def pretrain_rows(material: Material) -> Iterator[Row]:
    """Histories, items in words both ways, and user profiles."""
    yield from _histories(material)
    yield from _item_texts(material)
    yield from _profiles(material)


def sft_rows(material: Material) -> Iterator[Row]:
    """The last training positions of each user as questions for the next item, and items described."""
    for user, history in zip(material.users, material.split.train, strict=True):
        first = max(1, len(history) - material.samples_per_user)
        for position in range(first, len(history)):
            yield _next_item(material, "sft", user, history[:position], history[position])
    yield from _descriptions(material)


def heldout_rows(material: Material) -> Iterator[Row]:
    """One question per user: the training history, and the held-out item as its answer."""
    for user, history, target in zip(
        material.users, material.split.train, material.split.heldout, strict=True
    ):
        if target is not None:
            yield _next_item(material, "test", user, history, target)


def windows(history: History, *, most: int) -> Iterator[History]:
    """A history in consecutive pieces of nearly the same length, none longer than `most` items."""
    pieces = -(-len(history) // most)
    for piece in range(pieces):
        yield history[len(history) * piece // pieces : len(history) * (piece + 1) // pieces]


def _histories(material: Material) -> Iterator[Row]:
    for user, history in zip(material.users, material.split.train, strict=True):
        for number, window in enumerate(windows(history, most=material.window_items)):
            key = f"pretrain/history/{user.uid}/{number}"
            frame = wording.chosen(wording.HISTORIES, seed=material.seed, key=key)
            text = frame.format(history=material.spelled(window))
            yield _text(key, "history", text, user=user.uid, window=number)


def _item_texts(material: Material) -> Iterator[Row]:
    for direction, frames in (("to_text", wording.ITEM_TO_TEXT), ("to_id", wording.TEXT_TO_ITEM)):
        for item, spelling in zip(material.items, material.spellings, strict=True):
            key = f"pretrain/item_text/{direction}/{item.pid}"
            text = wording.chosen(frames, seed=material.seed, key=key).format(
                item=spelling, title=wording.title_of(item), genres=wording.genres_of(item)
            )
            yield _text(key, "item_text", text, pid=item.pid, direction=direction)


def _profiles(material: Material) -> Iterator[Row]:
    for user, history in zip(material.users, material.split.train, strict=True):
        likes = Counter(genre for item in history for genre in material.items[item].genres)
        genres = sorted(likes, key=lambda genre: (-likes[genre], genre))[:FAVOURITE_GENRES]
        films = [
            f"{material.spellings[item]} {wording.title_of(material.items[item])}"
            for item in history[-FILMS_OF_PROFILE:]
        ]
        text = wording.profile_of(user, genres, films)
        yield _text(f"pretrain/user_profile/{user.uid}", "user_profile", text, user=user.uid)


def _next_item(material: Material, of_set: str, user: User, history: History, target: int) -> Row:
    key = f"{of_set}/next_item/{user.uid}/{len(history)}"
    seen = history[-material.history_length :]
    frame = wording.chosen(wording.NEXT_ITEM, seed=material.seed, key=key)
    question = frame.format(history=material.spelled(seen))
    return _chat(
        key,
        "next_item",
        question,
        material.spellings[target],
        user=user.uid,
        target_pid=material.items[target].pid,
        position=len(history),
        history_length=len(seen),
    )


def _descriptions(material: Material) -> Iterator[Row]:
    for item, spelling in zip(material.items, material.spellings, strict=True):
        key = f"sft/item_description/{item.pid}"
        question = wording.chosen(wording.DESCRIBE_ITEM, seed=material.seed, key=key).format(item=spelling)
        yield _chat(key, "item_description", question, wording.description_of(item), pid=item.pid)


def _text(key: str, source: str, text: str, **metadata: str | int) -> Row:
    return Row(_uuid(key), source, metadata, segments=(text,))


def _chat(key: str, source: str, question: str, answer: str, **metadata: str | int) -> Row:
    messages = ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    return Row(_uuid(key), source, metadata, messages=messages)


def _uuid(key: str) -> str:
    return str(uuid.uuid5(NAMESPACE, key))
