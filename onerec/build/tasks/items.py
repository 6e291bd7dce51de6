"""Chats about items: what an item is, asked by its id; some items are held out of the training rows.

Which are held out depends on the seed and the items' ids alone.

Shapes: N items, R rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from onerec.build.interactions import Int64
from onerec.build.tasks.columns import taken
from onerec.build.tasks.keys import Draws, draw, ranked
from onerec.build.tasks.material import ROWS_PER_TABLE, Material, blocks
from onerec.build.tasks.tables import chat_table
from onerec.build.tasks.wording import Columns, Wording, fill

HELD_OUT_SHARE = 0.05
MOST_HELD_OUT = 1000


def item_fields(material: Material, items: Int64) -> Columns:
    """What is written about items."""
    columns = {
        "item": material.spelled_N,
        "title": material.titles,
        "year": material.years,
        "categories": material.category_lists,
        "text": material.descriptions,
    }
    return {name: taken(column, items) for name, column in columns.items()}


def described_items(material: Material) -> tuple[Int64, Int64]:
    """Items whose description is trained, and those whose description is held out, by number."""
    items = np.flatnonzero(material.has_text)
    keys = [f"held_out_description/{material.interactions.items[item].pid}" for item in items.tolist()]
    count = min(MOST_HELD_OUT, round(HELD_OUT_SHARE * len(items)))
    held_out = np.sort(items[ranked(keys, seed=material.seed)[:count]])
    return np.setdiff1d(items, held_out), held_out


def description_tables(material: Material, items: Int64, *, folder: str) -> Iterator[pa.Table]:
    """A question and its answer in words for each item."""
    questions = material.templates.wordings["item_description"]
    answers = material.templates.wordings["item_description_answer"]
    languages = [wording.language for wording in questions]
    for rows in blocks(len(items), ROWS_PER_TABLE):
        chosen = items[rows]
        pids = [material.interactions.items[item].pid for item in chosen.tolist()]
        draws = draw([f"{folder}/item_description/{pid}" for pid in pids], seed=material.seed)
        choice_R = draws.choice(len(questions))
        replies_R = _replies(answers, [languages[number] for number in choice_R.tolist()], draws)
        fields = dict.fromkeys(material.templates.languages, item_fields(material, chosen))
        yield chat_table(
            "item_description",
            uuids=draws.uuids,
            metadata={"pid": taken(material.pids, chosen)},
            questions=fill(questions, choice_R, fields),
            answers=fill(answers, replies_R, fields),
        )


def _replies(answers: Sequence[Wording], languages_R: Sequence[str], draws: Draws) -> Int64:
    """Number of each row's answer, which is in the language of its question."""
    of_language: dict[str, list[int]] = {}
    for number, answer in enumerate(answers):
        of_language.setdefault(answer.language, []).append(number)
    halves = (draws.chances_R >> np.uint64(32)).tolist()  # the lower half has chosen the question
    options = (of_language[language] for language in languages_R)
    return np.array([own[half % len(own)] for own, half in zip(options, halves, strict=True)])
