"""Chats: a question with a user's history, and the answer; which events are asked for is said by the caller.

A history ends before the event that is asked for. Nothing here decides what is held out.

Shapes: E events, R rows, U users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from onerec.build.interactions import Int64
from onerec.build.split import NONE
from onerec.build.tasks.columns import Text, numbers, taken
from onerec.build.tasks.keys import Draws, draw
from onerec.build.tasks.material import ROWS_PER_TABLE, USERS_PER_BLOCK, Mask, Material, blocks
from onerec.build.tasks.tables import Metadata, chat_table
from onerec.build.tasks.wording import Columns, fill


@dataclass(frozen=True)
class Asked:
    """R events that are asked for: places among all events, and their users."""

    events_R: Int64
    users_R: Int64

    def taken(self, rows: Int64 | Mask) -> Asked:
        """Some of them."""
        return Asked(self.events_R[rows], self.users_R[rows])


@dataclass(frozen=True)
class Said:
    """What R rows say beside the history."""

    answers: Text
    fields: Mapping[str, Columns] = field(default_factory=dict)
    """By language."""
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True)
class ChatTask:
    """A kind of chat about an event of a user."""

    name: str
    say: Callable[[Material, Asked, Int64], Said]
    """Given the numbers of the rows' languages, too."""
    can_ask_E: Mask | None = None
    """Events that it can ask for; None for all."""


def training_tables(task: ChatTask, material: Material, *, folder: str) -> Iterator[pa.Table]:
    """Rows for the last samples_per_user events of each user's training part that can be asked for."""
    for users in blocks(len(material.interactions.users), USERS_PER_BLOCK):
        yield from _tables(task, material, last_trained(task, material, users), folder)


def heldout_tables(task: ChatTask, material: Material, places_U: Int64, *, folder: str) -> Iterator[pa.Table]:
    """A row for the event at the given place of each user, where there is one that can be asked for."""
    users = np.flatnonzero(places_U != NONE)
    asked = Asked(material.interactions.offsets_U1[users] + places_U[users], users)
    if task.can_ask_E is not None:
        asked = asked.taken(task.can_ask_E[asked.events_R])
    yield from _tables(task, material, asked, folder)


def last_trained(task: ChatTask, material: Material, users: Int64) -> Asked:
    """The last samples_per_user events of consecutive users' training parts that can be asked for."""
    offsets_U1 = material.interactions.offsets_U1[users[0] : users[-1] + 2]
    events_E = np.arange(offsets_U1[0], offsets_U1[-1])
    users_E = np.repeat(np.arange(len(users)), np.diff(offsets_U1))
    asked_E = material.can_ask[events_E]
    if task.can_ask_E is not None:
        asked_E = asked_E & task.can_ask_E[events_E]
    events_E, users_E = events_E[asked_E], users_E[asked_E]
    ends_U = np.cumsum(np.bincount(users_E, minlength=len(users)))
    is_late_E = ends_U[users_E] - np.arange(len(users_E)) <= material.data.samples_per_user
    return Asked(events_E[is_late_E], users[users_E[is_late_E]])


def _tables(task: ChatTask, material: Material, asked: Asked, folder: str) -> Iterator[pa.Table]:
    for rows in blocks(len(asked.events_R), ROWS_PER_TABLE):
        yield _table(task, material, asked.taken(rows), folder)


def _table(task: ChatTask, material: Material, asked: Asked, folder: str) -> pa.Table:
    starts_R = material.interactions.offsets_U1[asked.users_R]
    begins_R = np.maximum(starts_R, asked.events_R - material.data.history_length)
    places_R = asked.events_R - starts_R
    draws = _draws(task, material, asked, places_R, folder)
    wordings, languages = material.templates.wordings[task.name], material.templates.languages
    choice_R = draws.choice(len(wordings))
    number_of = np.array([languages.index(wording.language) for wording in wordings])
    said = task.say(material, asked, number_of[choice_R])
    histories = {"history": material.histories(begins_R, asked.events_R)}
    fields = {language: {**histories, **said.fields.get(language, {})} for language in languages}
    metadata = {
        "user": taken(material.uids, asked.users_R),
        "target_pid": taken(material.pids, material.interactions.items_E[asked.events_R]),
        "position": numbers(places_R),
        "history_length": numbers(asked.events_R - begins_R),
        **said.metadata,
    }
    questions = fill(wordings, choice_R, fields)
    return chat_table(
        task.name, uuids=draws.uuids, metadata=metadata, questions=questions, answers=said.answers
    )


def _draws(task: ChatTask, material: Material, asked: Asked, places_R: Int64, folder: str) -> Draws:
    users = material.interactions.users
    keys = [
        f"{folder}/{task.name}/{users[user].uid}/{place}"
        for user, place in zip(asked.users_R.tolist(), places_R.tolist(), strict=True)
    ]
    return draw(keys, seed=material.seed)
