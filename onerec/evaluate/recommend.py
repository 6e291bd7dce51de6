"""The recommend program: items for users that are given by the ids of what they met before.

Opens one model folder, which has its item map beside it, and answers for all users together.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onerec.data.source.validate import Message, Row
from onerec.errors import ConfigError
from onerec.evaluate.light.model import LightModel
from onerec.evaluate.prompts import Answer
from onerec.items.item_map import ItemMap, load_item_map
from onerec.progress import write_json_atomically
from onerec.vocab import item_text

if TYPE_CHECKING:
    from onerec.config import RecommendConfig

RESULT_NAME = "recommendations.json"
FEW_USERS = 16
"""So many at most are asked for one by one, without torch."""
BATCH_SIZE = 32
Ask = Callable[[Sequence[Row], Sequence[Sequence[int]] | None], list[Answer]]
"""Rows and what each user is not to be told, to answers."""


def recommend(config: RecommendConfig) -> dict[str, object]:
    """Write recommendations.json and return it, with a line for people about the time.

    Raises ConfigError for a folder without an item map, for an unknown item, for a question without
    {history}, and for more items than the search is wide.
    """
    began = time.perf_counter()
    items = load_item_map(Path(config.model_dir))
    if config.top_k > config.num_beams:
        raise ConfigError(f"top_k {config.top_k} is more than num_beams {config.num_beams}; raise num_beams")
    histories = [[items.number_of(pid) for pid in history] for history in config.histories]
    question, length = _asking(config, items)
    ask = _model(config, items)
    loaded = time.perf_counter()
    rows = [_row(question, history[-length:], items) for history in histories]
    answers = ask(rows, histories if config.exclude_history else None)
    answered = time.perf_counter()
    document: dict[str, object] = {
        "model_dir": config.model_dir,
        "users": [
            _user(history, answer, items, top_k=config.top_k)
            for history, answer in zip(histories, answers, strict=True)
        ],
        "load_seconds": loaded - began,
        "answer_seconds": answered - loaded,
    }
    document["report"] = [
        f"answered in {answered - loaded:.2f} s; the model was loaded in {loaded - began:.2f} s"
    ]
    write_json_atomically(Path(config.output_dir) / RESULT_NAME, document)
    return document


def _model(config: RecommendConfig, items: ItemMap) -> Ask:
    """The model, loaded: a small one without torch, where a few users are asked for on a CPU."""
    folder, thinks = Path(config.model_dir), _thinks(config, items)
    if config.device != "cuda" and len(config.histories) <= FEW_USERS:
        light = LightModel.load(folder, items, add_think_pattern=thinks)
        if light is not None:
            return partial(light.ask, width=config.num_beams)
    from onerec.evaluate.recommender import Recommender  # noqa: PLC0415 - seconds, which a small model saves

    recommender = Recommender.load(folder, items, add_think_pattern=thinks, device=config.device)
    return lambda rows, excluded: recommender.ask(
        recommender.prompts(rows), width=config.num_beams, excluded=excluded, batch_size=BATCH_SIZE
    )


def _asking(config: RecommendConfig, items: ItemMap) -> tuple[str, int]:
    """The question and how many items of a history it is asked with."""
    question = config.question or items.about.get("question")
    if not question:
        raise ConfigError(
            f"{config.model_dir}: its item map tells no question; give one with {{history}} in it"
        )
    if "{history}" not in question:
        raise ConfigError(f"the question {question!r} has no {{history}}; say where the items go")
    return question, int(items.about.get("history_length", 50))


def _thinks(config: RecommendConfig, items: ItemMap) -> bool:
    if config.add_think_pattern is not None:
        return config.add_think_pattern
    return bool(items.about.get("add_think_pattern", False))


def _row(question: str, history: list[int], items: ItemMap) -> Row:
    """The question as a chat row; its answer is cut off before it is asked."""
    spelled = "".join(item_text(tuple(items.codes_NL[item].tolist())) for item in history)
    answer = item_text(tuple(items.codes_NL[0].tolist()))
    messages = (Message("user", question.replace("{history}", spelled)), Message("assistant", answer))
    return Row(str(uuid.uuid4()), "next_item", messages, None, {}, file="the question", row=0)


def _user(history: list[int], answer: Answer, items: ItemMap, *, top_k: int) -> dict[str, Any]:
    return {
        "history": [{"pid": items.pids[item], "title": items.titles[item]} for item in history],
        "items": [
            {
                "rank": rank,
                "pid": items.pids[item],
                "title": items.titles[item],
                "sid": item_text(tuple(items.codes_NL[item].tolist())),
                "score": score,
            }
            for rank, (item, score) in enumerate(
                zip(answer.items[:top_k], answer.scores[:top_k], strict=True), start=1
            )
        ],
    }
