"""Texts for pretraining: histories, items in words both ways, and user profiles.

Only the training part of the split is looked at.

Shapes: N items, R rows, H items of R histories.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from onerec.build.interactions import Int64
from onerec.build.tasks.columns import joined, numbers, same, taken
from onerec.build.tasks.items import item_fields
from onerec.build.tasks.keys import draw
from onerec.build.tasks.material import ROWS_PER_TABLE, USERS_PER_BLOCK, Material, blocks, ranges
from onerec.build.tasks.profiles import profile_fields
from onerec.build.tasks.tables import Metadata, text_table
from onerec.build.tasks.wording import Columns, fill

DIRECTIONS = {"to_text": "item_to_text", "to_id": "text_to_item"}
"""Of item_text, and the lists of their wordings."""


def history_tables(material: Material) -> Iterator[pa.Table]:
    """Every user's history in windows; copies after the first leave out events by chance."""
    for copy in range(material.data.history_copies):
        for users in blocks(len(material.interactions.users), USERS_PER_BLOCK):
            users_R, numbers_R, begins_R, ends_R = _windows(material, users)
            for rows in blocks(len(users_R), ROWS_PER_TABLE):
                yield _histories(
                    material,
                    users_R[rows],
                    numbers_R[rows],
                    begins_R[rows],
                    ends_R[rows],
                    copy=copy,
                )


def item_text_tables(material: Material) -> Iterator[pa.Table]:
    """Every item that has a text, its id told in words and its words told as id."""
    items = np.flatnonzero(material.has_text)
    for direction, wordings in DIRECTIONS.items():
        for rows in blocks(len(items), ROWS_PER_TABLE):
            chosen = items[rows]
            keys = [
                f"pretrain/item_text/{direction}/{material.interactions.items[item].pid}"
                for item in chosen.tolist()
            ]
            metadata = {
                "pid": taken(material.pids, chosen),
                "direction": same(direction, len(chosen)),
            }
            fields = dict.fromkeys(material.templates.languages, item_fields(material, chosen))
            yield _said(material, "item_text", wordings, keys, fields, metadata)


def profile_tables(material: Material) -> Iterator[pa.Table]:
    """Every user who has a training part in words."""
    users_U = np.flatnonzero(material.split.train_lengths_U > 0)
    for rows in blocks(len(users_U), ROWS_PER_TABLE):
        users = users_U[rows]
        keys = [f"pretrain/user_profile/{material.interactions.users[user].uid}" for user in users.tolist()]
        metadata = {"user": taken(material.uids, users)}
        yield _said(material, "user_profile", "user_profile", keys, profile_fields(material, users), metadata)


def _windows(material: Material, users: Int64) -> tuple[Int64, Int64, Int64, Int64]:
    """Users, numbers, begins and ends of consecutive pieces of nearly the same length, as few as may be."""
    lengths_U = material.split.train_lengths_U[users]
    pieces_U = -(-lengths_U // material.data.window_items)
    numbers_R, rows_R = ranges(np.zeros_like(pieces_U), pieces_U)
    starts_R = material.interactions.offsets_U1[users][rows_R]
    begins_R, ends_R = (
        starts_R + lengths_U[rows_R] * (numbers_R + more) // pieces_U[rows_R] for more in (0, 1)
    )
    return users[rows_R], numbers_R, begins_R, ends_R


def _histories(
    material: Material, users_R: Int64, numbers_R: Int64, begins_R: Int64, ends_R: Int64, *, copy: int
) -> pa.Table:
    """Rows of windows; in a copy, windows of which nothing has stayed are left out."""
    keys = [
        f"pretrain/history/{material.interactions.users[user].uid}/{number}/{copy}"
        for user, number in zip(users_R.tolist(), numbers_R.tolist(), strict=True)
    ]
    events_H, rows_H = ranges(begins_R, ends_R)
    if copy:
        kept_H = draw(keys, seed=material.seed).kept(
            rows_H, events_H - begins_R[rows_H], material.data.history_keep
        )
        events_H, rows_H = events_H[kept_H], rows_H[kept_H]
    lengths_R = np.bincount(rows_H, minlength=len(users_R))
    rows = np.flatnonzero(lengths_R)
    histories = joined(taken(material.spelled_N, material.interactions.items_E[events_H]), lengths_R[rows])
    metadata = {
        "user": taken(material.uids, users_R[rows]),
        "window": numbers(numbers_R[rows]),
        "copy": numbers(np.full(len(rows), copy)),
    }
    fields = {language: {"history": histories} for language in material.templates.languages}
    return _said(material, "history", "history", [keys[row] for row in rows.tolist()], fields, metadata)


def _said(
    material: Material,
    source: str,
    wordings: str,
    keys: list[str],
    fields: Mapping[str, Columns],
    metadata: Metadata,
) -> pa.Table:
    draws = draw(keys, seed=material.seed)
    options = material.templates.wordings[wordings]
    texts = fill(options, draws.choice(len(options)), fields)
    return text_table(source, uuids=draws.uuids, metadata=metadata, texts=texts)
