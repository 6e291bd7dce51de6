import tracemalloc
import uuid
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from onerec.build.interactions import Item
from onerec.build.tasks import chats, texts
from onerec.build.tasks.folders import tables_of_folders, unfed_tasks
from onerec.config import OUTPUTS, TASKS
from tests.build.tasks.materials import interactions, material, rows

FED = {"types_E": np.array([0, 1, 0, 1, 0, 1, 1, 0], dtype=np.int32), "type_names": ("view", "buy")}
QUERIES = pa.array(["shoes"] * 8)


def sources(made, tasks=TASKS):
    return {
        name: dict(Counter(row["source"] for row in rows(tables)))
        for name, tables in tables_of_folders(made, tasks).items()
    }


def test_each_folder_has_the_rows_that_it_is_named_for():
    made = material(interactions(**FED, queries_E=QUERIES), positive_types=("buy",), validation=True)
    assert unfed_tasks(made) == {}
    assert sources(made) == {
        "pretrain": {"history": 3, "item_text": 12, "user_profile": 3},
        "sft": {
            "next_item": 2,
            "typed_next_item": 2,
            "label_prediction": 2,
            "interactive": 2,
            "item_description": 6,
        },
        "validation": {"next_item": 1},
        "test": {"next_item": 2},
        "test_tasks": {"typed_next_item": 2, "label_prediction": 2, "interactive": 2},
    }
    assert tuple(sources(made)) == OUTPUTS


def test_only_the_given_tasks_are_made_and_the_questions_of_the_test_always():
    assert sources(material(), ("history",)) == {
        "pretrain": {"history": 3},
        "sft": {},
        "validation": {"next_item": 1},
        "test": {"next_item": 2},
        "test_tasks": {},
    }


def test_every_row_has_a_uuid_of_its_own():
    made = material(interactions(**FED, queries_E=QUERIES), positive_types=("buy",), history_copies=2)
    uuids = [row["uuid"] for tables in tables_of_folders(made, TASKS).values() for row in rows(tables)]
    assert len({str(uuid.UUID(text)) for text in uuids}) == len(uuids) > 30


SILENT = [Item(str(n)) for n in range(6)]


@pytest.mark.parametrize(
    ("found", "changes", "task", "why"),
    [
        ({}, {}, "interactive", "events have no queries (columns.query)"),
        (
            {"queries_E": pa.array([None] * 7 + ["x"])},
            {},
            "interactive",
            "no training event with a history has a query",
        ),
        ({}, {}, "typed_next_item", "neither columns.type nor positive_rating says what users did"),
        (
            {"ratings": [1] * 8},
            {"positive_rating": 3},
            "typed_next_item",
            "no training event with a history has a type",
        ),
        ({}, {}, "label_prediction", "neither positive_rating nor positive_types says what is liked"),
        (
            {"ratings": [5, 5, 5, 1, 1, 5, 1, 5]},
            {"positive_rating": 3},
            "label_prediction",
            "all 2 training events with a history and a label are positive",
        ),
        (
            {"ratings": [1] * 8},
            {"positive_rating": 3},
            "label_prediction",
            "all 2 training events with a history and a label are negative",
        ),
        ({"items": SILENT}, {}, "item_text", "no item has a title or a text"),
        ({"items": SILENT}, {}, "item_description", "no item has a title or a text"),
        ({"items": SILENT}, {}, "user_profile", "nothing is known of users, nor of the items that they met"),
        ({"histories": [[0], [1]]}, {}, "next_item", "no user has two training events"),
    ],
)
def test_a_task_that_the_data_cannot_feed_is_told_with_the_reason(found, changes, task, why):
    assert unfed_tasks(material(interactions(**found), **changes))[task] == why


def test_a_task_that_nobody_asked_for_is_not_told():
    assert unfed_tasks(material(tasks=("history", "next_item"))) == {}


def test_memory_does_not_grow_with_the_number_of_rows(monkeypatch):
    """Everything that exists once per user or item is made before; what rows take is let go of again."""
    for module in (chats, texts):
        monkeypatch.setattr(module, "ROWS_PER_TABLE", 100)
        monkeypatch.setattr(module, "USERS_PER_BLOCK", 100)

    def peak(users):
        made = material(interactions([[n % 6 for n in range(20)]] * users), history_copies=2)
        assert made.is_trained.size
        assert len(made.uids) + len(made.pids) + len(made.titles) + len(made.categories) > users
        before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
        pa.set_memory_pool(pool)
        tracemalloc.start()
        count = 0
        for tables in tables_of_folders(made, ("history", "user_profile", "next_item")).values():
            for table in tables:
                count += table.num_rows
                del table
        _, held = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        pa.set_memory_pool(before)
        return count, pool.max_memory() + held

    few, many = peak(200), peak(1200)
    assert many[0] == 6 * few[0] == 6 * 200 * (2 + 1 + 8 + 1 + 1)
    assert many[1] < 1.3 * few[1]
