"""What every model of an evaluation is asked: questions, labels and descriptions that were held out.

Reads a build_data folder; nobody is asked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onerec.errors import DataError
from onerec.evaluate.histories import Histories, read_histories
from onerec.evaluate.questions import NEXT_ITEM, Question, drawn, read_questions, read_rows
from onerec.items.item_map import ItemMap, load_item_map

if TYPE_CHECKING:
    from onerec.config import EvaluateConfig
    from onerec.data.source.validate import Row

TASKS_DIR = "test_tasks"


@dataclass(frozen=True)
class Material:
    """What every model is asked."""

    items: ItemMap
    histories: Histories
    questions: list[Question]
    others: list[Question]
    """Questions of other kinds that are answered by an item."""
    labels: list[Row]
    descriptions: list[Row]

    @property
    def targets(self) -> list[int]:
        """The item that answers each question."""
        return [question.target for question in self.questions]


def read_material(config: EvaluateConfig) -> Material:
    """Items, histories and questions of a build_data folder."""
    built, settings = Path(config.built_dir), config.evaluation
    items = load_item_map(built / "items.parquet")
    histories = read_histories(built / "histories.parquet", num_items=len(items))
    asked = read_questions(built / config.split, histories, items, split=config.split)
    questions = [question for question in asked if question.row.source == NEXT_ITEM]
    if not questions:
        raise DataError(f"{built / config.split} asks for no next item; nobody's events were held out")
    _check_everyone_is_asked(questions, histories, config)
    tasks = built / TASKS_DIR
    is_test = config.split == "test" and tasks.is_dir()
    others = read_questions(tasks, histories, items, split="test") if is_test else []
    most = settings.max_users
    return Material(
        items=items,
        histories=histories,
        questions=drawn(questions, most, seed=config.seed),
        others=drawn(others, most, seed=config.seed),
        labels=drawn(read_rows(tasks, "label_prediction"), most, seed=config.seed) if is_test else [],
        descriptions=drawn(read_rows(tasks, "item_description"), settings.max_descriptions, seed=config.seed)
        if is_test
        else [],
    )


def _check_everyone_is_asked(
    questions: Sequence[Question], histories: Histories, config: EvaluateConfig
) -> None:
    """Raise DataError unless every user with a held-out event is asked for that event, once."""
    wanted = dict(
        zip(
            histories.targeted_users(config.split).tolist(),
            histories.targets(config.split).tolist(),
            strict=True,
        )
    )
    asked = {question.user: question.target for question in questions}
    wrong = [user for user, target in wanted.items() if asked.get(user) != target]
    if wrong or len(asked) != len(questions):
        told = ", ".join(histories.uids[user] for user in wrong[:3]) or "some are asked twice"
        raise DataError(
            f"{Path(config.built_dir) / config.split} has {len(questions):,} questions for {len(wanted):,} "
            f"users with a held-out event, {len(wrong):,} of these without one or for another item ({told}); "
            "run the build_data stage again"
        )


def counts_of(config: EvaluateConfig, material: Material) -> dict[str, int]:
    """Every user is asked, left out by max_users, or has nothing that is held out.

    targets_met_before counts targets in their own histories: where these are excluded, nobody finds them.
    """
    asked = len(material.questions)
    targeted = len(material.histories.targeted_users(config.split))
    return {
        "users": material.histories.num_users,
        "asked": asked,
        "left_out_by_max_users": targeted - asked,
        "without_held_out_event": material.histories.num_users - targeted,
        "targets_met_before": sum(question.target in question.history for question in material.questions),
        "items": len(material.items),
    }
