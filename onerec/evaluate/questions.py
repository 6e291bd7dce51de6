"""Questions of held-out rows: what is asked, what the answer was, and whose history must not be repeated.

Reads the folders that build_data writes; no model is known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onerec.data.source.read import rows
from onerec.data.source.validate import Row
from onerec.errors import ConfigError, DataError
from onerec.evaluate.histories import Histories, SplitName
from onerec.items.item_map import ItemMap

NEXT_ITEM = "next_item"
RANKED_TASKS = (NEXT_ITEM, "typed_next_item", "interactive")
"""Kinds of rows that are answered by an item."""


@dataclass(frozen=True)
class Question:
    """One held-out row that is answered by an item."""

    row: Row
    user: int
    """The user's place in the histories."""
    target: int
    """Number of the item that answers."""
    history: tuple[int, ...]
    """Numbers of all items that the user met before, oldest first."""


def read_questions(folder: Path, histories: Histories, items: ItemMap, *, split: SplitName) -> list[Question]:
    """The questions of a folder in the order of its rows, rows that no item answers left out.

    Raises DataError for a folder without rows and for rows that do not belong to histories and items.
    """
    user_of = {uid: user for user, uid in enumerate(histories.uids)}
    before = dict(zip(histories.targeted_users(split).tolist(), histories.before(split), strict=True))
    found = []
    for row in rows(str(folder)):
        if row.source not in RANKED_TASKS:
            continue
        user = user_of.get(str(row.metadata.get("user")))
        if user is None or user not in before:
            raise _of_others(row, f"user {row.metadata.get('user')!r} has no event that is held out")
        pid = str(row.metadata.get("target_pid"))
        try:
            target = items.number_of(pid)
        except ConfigError as fault:
            raise _of_others(row, str(fault)) from fault
        found.append(Question(row, user, target, tuple(before[user].tolist())))
    return found


def read_rows(folder: Path, source: str) -> list[Row]:
    """Rows of one kind; none where the folder is not there."""
    return [row for row in rows(str(folder)) if row.source == source] if folder.is_dir() else []


def drawn(questions: Sequence[Any], most: int | None, *, seed: int) -> list[Any]:
    """At most so many of them, drawn by the seed, in their order."""
    if most is None or len(questions) <= most:
        return list(questions)
    places = np.random.default_rng(seed).choice(len(questions), size=most, replace=False)
    return [questions[place] for place in sorted(places.tolist())]


def _of_others(row: Row, why: str) -> DataError:
    remedy = "give rows, items and histories of one build_data stage"
    return DataError(f"{row.file}, row {row.row}: {why}; {remedy}")
