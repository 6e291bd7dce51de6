"""Texts for pretraining: histories, items in words both ways, and user profiles.

Only the training part of the split is looked at.

Shapes: N items, R rows, H items of R histories.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from onerec.build.tasks.columns import joined, numbers, same, taken
from onerec.build.tasks.items import item_fields
from onerec.build.tasks.keys import draw
from onerec.build.tasks.material import ROWS_PER_TABLE, USERS_PER_BLOCK, Material, blocks
from onerec.build.tasks.profiles import profile_fields
from onerec.build.tasks.tables import Metadata, text_table
from onerec.build.tasks.windows import Windows, thinned_windows, whole_windows
from onerec.build.tasks.wording import Columns, fill

DIRECTIONS = {"to_text": "item_to_text", "to_id": "text_to_item"}
"""Of item_text, and the lists of their wordings."""


def history_tables(material: Material) -> Iterator[pa.Table]:
    """Every user's history in windows; copies after the first are thinned and cut by chance."""
    for copy in range(material.data.history_copies):
        for users in blocks(len(material.interactions.users), USERS_PER_BLOCK):
            windows = thinned_windows(material, users, copy=copy) if copy else whole_windows(material, users)
            for rows in blocks(len(windows.users_R), ROWS_PER_TABLE):
                yield _histories(material, windows.part(rows), copy=copy)


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


def _histories(material: Material, windows: Windows, *, copy: int) -> pa.Table:
    keys = [
        f"pretrain/history/{material.interactions.users[user].uid}/{number}/{copy}"
        for user, number in zip(windows.users_R.tolist(), windows.numbers_R.tolist(), strict=True)
    ]
    lengths_R = np.bincount(windows.rows_H, minlength=len(keys))
    spelled = taken(material.spelled_N, material.interactions.items_E[windows.events_H])
    histories = joined(spelled, lengths_R)
    metadata = {
        "user": taken(material.uids, windows.users_R),
        "window": numbers(windows.numbers_R),
        "copy": numbers(np.full(len(keys), copy)),
    }
    fields = {language: {"history": histories} for language in material.templates.languages}
    return _said(material, "history", "history", keys, fields, metadata)


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
