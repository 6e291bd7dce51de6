"""items.parquet and histories.parquet: what evaluation, training and the exported model ask of a build.

Each appears whole. Rows of samples are written elsewhere.

Shapes: N items, L levels, U users.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from onerec.build.interactions import Interactions
from onerec.build.split import Split
from onerec.build.tasks.material import Material, ranges
from onerec.config import Vocab
from onerec.evaluate.histories import Histories, write_histories

METADATA_KEY = b"onerec"


def write_items(material: Material, codes_NL: npt.NDArray[np.integer], path: Path, *, vocab: Vocab) -> None:
    """One row per item in the order of their numbers; the schema's metadata says how items are asked for."""
    items = material.interactions.items
    table = pa.table(
        {
            "pid": pa.array([item.pid for item in items], pa.string()),
            "sid": pa.array(codes_NL.tolist(), pa.list_(pa.int32())),
            "sid_text": material.spelled_N,
            "title": pa.array([item.title for item in items], pa.string()),
            "text": pa.array([item.text for item in items], pa.string()),
            "year": pa.array([item.year for item in items], pa.int32()),
            "categories": pa.array([item.categories for item in items], pa.list_(pa.string())),
            "train_popularity": pa.array(material.split.popularity(material.interactions), pa.int64()),
        },
        metadata={METADATA_KEY: json.dumps(about(material, vocab), ensure_ascii=False).encode()},
    )
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(table, temporary)
    temporary.replace(path)


def about(material: Material, vocab: Vocab) -> dict[str, object]:
    """How items are spelled, and the next-item question that stands for all of them, with {history} in it."""
    return {
        "itemic_layer_n": vocab.itemic_layer_n,
        "vocab_size_per_layer": vocab.vocab_size_per_layer,
        "question": material.templates.wordings["next_item"][0].text({}),
        "history_length": material.data.history_length,
    }


def write_user_histories(interactions: Interactions, split: Split, path: Path) -> None:
    """Items of each user up to the test target, and which of them are held out."""
    ends_U = np.maximum(split.train_lengths_U, np.maximum(split.validation_U, split.test_U) + 1)
    starts_U = interactions.offsets_U1[:-1]
    events, _ = ranges(starts_U, starts_U + ends_U)
    histories = Histories(
        uids=tuple(user.uid for user in interactions.users),
        offsets_U1=np.concatenate([[0], np.cumsum(ends_U)]),
        items_E=interactions.items_E[events],
        train_lengths_U=split.train_lengths_U,
        validation_U=split.validation_U,
        test_U=split.test_U,
        num_items=len(interactions.items),
    )
    write_histories(histories, path)
