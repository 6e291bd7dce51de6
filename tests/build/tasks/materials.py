"""Small data sets by hand, and all that rows are made of for them."""

import json

import numpy as np
import pyarrow as pa

from onerec.build.interactions import Interactions, Item, User
from onerec.build.split import split_of
from onerec.build.tasks.material import Material
from onerec.build.tasks.templates import load_templates
from onerec.config import BuildData

ITEMS = tuple(
    Item(str(n), f"Film {n}", 1990 + n, ("Drama",) if n < 3 else ("Comedy", "War")) for n in range(6)
)
HISTORIES = ((0, 1, 2, 3, 4), (5, 0), (1,))


def interactions(histories=HISTORIES, *, items=ITEMS, users=None, times=None, ratings=None, **columns):
    """Histories of item numbers; by default each event is a second after the one before it."""
    lengths = [len(history) for history in histories]
    flat = [time for own in times for time in own] if times else [n for size in lengths for n in range(size)]
    return Interactions(
        items=tuple(items),
        users=users or tuple(User(chr(ord("a") + n)) for n in range(len(histories))),
        offsets_U1=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items_E=np.array([item for history in histories for item in history], dtype=np.int32),
        times_E=np.array(flat, dtype=np.int64),
        ratings_E=None if ratings is None else np.array(ratings, dtype=np.float32),
        **columns,
    )


def settings(**changes):
    return BuildData(**({"interactions": "events", "items": "items", "languages": ("en",)} | changes))


def material(found=None, *, seed=3, **changes):
    """Items are spelled <0>, <1>, ..."""
    found = found or interactions()
    data = settings(**changes)
    return Material(
        interactions=found,
        split=split_of(found, data),
        spelled_N=pa.array([f"<{number}>" for number in range(len(found.items))], pa.string()),
        templates=load_templates(data),
        data=data,
        seed=seed,
    )


def rows(tables):
    """Rows of tables with their JSON read: uuid, source, metadata, and messages or segments."""
    return [
        {
            "uuid": row["uuid"],
            "source": row["source"],
            "metadata": json.loads(row["metadata"]),
            "said": [part["content"] for part in json.loads(row["messages"])]
            if row["messages"]
            else [part["text"] for part in json.loads(row["segments"])],
        }
        for table in tables
        for row in table.to_pylist()
    ]
