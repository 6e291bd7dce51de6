"""A small build_data folder made by hand, for the vocabulary of the tiny programme."""

import json
import random
import uuid

import pyarrow as pa
import pyarrow.parquet as pq

from onerec.build.rows import Row, write_rows
from onerec.evaluate.histories import histories_of, write_histories
from onerec.items.item_map import METADATA_KEY
from onerec.vocab import item_text
from tests import tiny

NUM_ITEMS, NUM_USERS = 40, 13
QUESTION = "seen {history} next?"
ABOUT = {"itemic_layer_n": 3, "vocab_size_per_layer": 8, "question": QUESTION, "history_length": 5}


def codes():
    """Ids of the items, no two alike."""
    every = [(a, b, c) for a in range(8) for b in range(8) for c in range(8)]
    return random.Random(4).sample(every, NUM_ITEMS)


def histories():
    """Rows of users; the last one has nothing held out."""
    drawn = random.Random(5)
    rows = []
    for user in range(NUM_USERS - 1):
        items = drawn.sample(range(NUM_ITEMS), drawn.randrange(3, 12))
        rows.append((f"u{user}", items, len(items) - 2, len(items) - 2, len(items) - 1))
    return [*rows, ("alone", [3], 1, None, None)]


def spelled(items):
    return "".join(item_text(codes()[item]) for item in items)


def chat(key, source, question, answer, **metadata):
    messages = ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    return Row(str(uuid.uuid5(uuid.NAMESPACE_OID, key)), source, metadata, messages=messages)


def next_item(uid, items, place, *, source="next_item"):
    question = QUESTION.format(history=spelled(items[:place][-5:]))
    return chat(
        f"{source}{uid}", source, question, spelled([items[place]]), user=uid, target_pid=f"p{items[place]}"
    )


def make(folder):
    """Write everything; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = histories()
    write_items(folder / "items.parquet", about=ABOUT)
    write_histories(histories_of(rows, num_items=NUM_ITEMS), folder / "histories.parquet")
    targeted = [row for row in rows if row[4] is not None]
    write_rows((next_item(uid, items, at) for uid, items, _, at, _ in targeted), folder / "validation")
    write_rows((next_item(uid, items, at) for uid, items, _, _, at in targeted), folder / "test")
    write_rows(other_rows(targeted), folder / "test_tasks")
    return folder


def write_items(path, *, about, order=range(NUM_ITEMS)):
    popularity = [0] * NUM_ITEMS
    for _, items, length, *_ in histories():
        for item in items[:length]:
            popularity[item] += 1
    table = pa.table(
        {
            "pid": [f"p{item}" for item in order],
            "sid": pa.array([codes()[item] for item in order], pa.list_(pa.int32())),
            "title": [f"Title {item}" for item in order],
            "train_popularity": [popularity[item] for item in order],
        }
    )
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(about)}), path)


def other_rows(targeted):
    """Questions of the other kinds."""
    for number, (uid, items, _, _, at) in enumerate(targeted):
        if number % 2:
            yield next_item(uid, items, at, source="typed_next_item")
        label = number % 3 == 0
        yield chat(
            f"label{uid}",
            "label_prediction",
            f"{spelled(items[:at][-5:])} likes {spelled([items[at]])}?",
            "yes" if label else "no",
            user=uid,
            label=int(label),
            yes="yes",
            no="no",
        )
    for item in range(3):
        yield chat(
            f"d{item}", "item_description", f"what is {spelled([item])}?", f"Title {item}", pid=f"p{item}"
        )


def model_of(tiny_programme):
    """An expanded model that was never trained."""
    return tiny_programme / "expanded" / "model"


VOCAB = tiny.VOCAB
