"""Which rows stand in which folder, and which tasks the data cannot feed.

pretrain/ and sft/ are made of the training part of the split alone, and so is what decides about tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain

import numpy as np
import pyarrow as pa

from onerec.build.tasks import asking, texts
from onerec.build.tasks.chats import ChatTask, heldout_tables, training_tables
from onerec.build.tasks.items import described_items, description_tables
from onerec.build.tasks.material import Mask, Material

TEXTS = {
    "history": texts.history_tables,
    "item_text": texts.item_text_tables,
    "user_profile": texts.profile_tables,
}
CHATS = {
    "next_item": asking.next_item,
    "typed_next_item": asking.typed_next_item,
    "label_prediction": asking.label_prediction,
    "interactive": asking.interactive,
}

Tables = Iterator[pa.Table]


def tables_of_folders(material: Material, tasks: Iterable[str]) -> dict[str, Tables]:
    """Tables of each folder in their order; `tasks` are those that the data can feed."""
    given, split = tuple(tasks), material.split
    chats = {name: make(material) for name, make in CHATS.items() if name in given}
    next_item = asking.next_item(material)
    described, asked = described_items(material) if "item_description" in given else (None, None)

    def descriptions(items: np.ndarray | None, folder: str) -> Tables:
        return iter(()) if items is None else description_tables(material, items, folder=folder)

    def heldout(task: ChatTask, places_U: np.ndarray, folder: str) -> Tables:
        return heldout_tables(task, material, places_U, folder=folder)

    return {
        "pretrain": _chained(partial(make, material) for name, make in TEXTS.items() if name in given),
        "sft": chain(
            _chained(partial(training_tables, task, material, folder="sft") for task in chats.values()),
            descriptions(described, "sft"),
        ),
        "validation": heldout(next_item, split.validation_U, "validation"),
        "test": heldout(next_item, split.test_U, "test"),
        "test_tasks": chain(
            _chained(
                partial(heldout, task, split.test_U, "test_tasks")
                for name, task in chats.items()
                if name != "next_item"
            ),
            descriptions(asked, "test_tasks"),
        ),
    }


def unfed_tasks(material: Material) -> dict[str, str]:
    """The tasks that the data cannot feed, and why."""
    reasons = {
        "item_text": _without_item_texts,
        "user_profile": _without_profiles,
        "next_item": _without_questions,
        "typed_next_item": _without_types,
        "label_prediction": _without_labels,
        "item_description": _without_item_texts,
        "interactive": _without_queries,
    }
    told = {task: reasons[task](material) for task in material.data.tasks if task in reasons}
    return {task: reason for task, reason in told.items() if reason}


def _without_item_texts(material: Material) -> str:
    return "" if material.has_text.any() else "no item has a title or a text"


def _without_profiles(material: Material) -> str:
    found = material.interactions
    is_known = any(user.age is not None or user.gender or user.occupation for user in found.users)
    if is_known or material.has_text.any() or len(material.categories[0]):
        return ""
    return "nothing is known of users, nor of the items that they met"


def _without_questions(material: Material) -> str:
    return "" if (material.split.train_lengths_U > 1).any() else "no user has two training events"


def _without_types(material: Material) -> str:
    if material.types is None:
        return "neither columns.type nor positive_rating says what users did"
    return _untrained(material, material.types.types_E >= 0, "a type")


def _without_labels(material: Material) -> str:
    if material.labels is None:
        return "neither positive_rating nor positive_types says what is liked"
    known_E = material.labels.known_E & material.can_ask
    count, positive = int(known_E.sum()), int(material.labels.positive_E[known_E].sum())
    if positive in {0, count} and count:
        sort = "positive" if positive else "negative"
        return f"all {count:,} training events with a history and a label are {sort}"
    return _untrained(material, known_E, "a label")


def _without_queries(material: Material) -> str:
    if material.has_query is None:
        return "events have no queries (columns.query)"
    return _untrained(material, material.has_query, "a query")


def _untrained(material: Material, has_E: Mask, what: str) -> str:
    return "" if (has_E & material.can_ask).any() else f"no training event with a history has {what}"


def _chained(made: Iterable[Callable[[], Tables]]) -> Tables:
    for tables in made:
        yield from tables()
