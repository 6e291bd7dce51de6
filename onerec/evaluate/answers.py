"""What a model says to questions that no item answers: yes or no, and descriptions in words.

How good the answers are stands here too, for each kind by its own metric.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from onerec.config.evaluation import Evaluation
from onerec.data.source.validate import Message, Row, RowError
from onerec.data.text.tokenizer import TURN_END, token_id
from onerec.errors import DataError
from onerec.evaluate import metrics
from onerec.evaluate.recommender import Recommender
from onerec.evaluate.search import batches, say_greedily
from onerec.evaluate.text_metrics import chrf, rouge_l
from onerec.evaluate.tree import PromptTree

EXAMPLES = 5
"""Descriptions that are shown beside what was wanted."""


@torch.inference_mode()
def label_scores(recommender: Recommender, rows: Sequence[Row], *, batch_size: int) -> list[float]:
    """How much more likely yes is than no as the answer of each row, in nats.

    The rows' metadata tell both words (yes, no). It is read where the two answers first differ.
    """
    contrasts = [_contrast(recommender, row) for row in rows]
    scores: dict[int, float] = {}
    for places in batches([len(prompt) for prompt, _, _ in contrasts], size=batch_size):
        tree = PromptTree(recommender.lm, [contrasts[place][0] for place in places])
        for place, log_probs_V in zip(places, tree.log_probs(tree.hidden_B1D)[:, 0], strict=True):
            _, yes, no = contrasts[place]
            scores[place] = float(log_probs_V[yes] - log_probs_V[no])
    return [scores[place] for place in range(len(rows))]


def label_figures(
    rows: Sequence[Row], scores: Sequence[float], *, settings: Evaluation, seed: int
) -> dict[str, Any]:
    """AUC of the predictions, and how many of each label there are; None where all are alike."""
    labels = np.array([bool(_told(row, "label")) for row in rows])
    values = np.array(scores)
    found = metrics.estimate_of(
        lambda places: metrics.area_under_curve(labels[places].tolist(), values[places].tolist()),
        len(rows),
        samples=settings.bootstrap_samples,
        seed=seed,
    )
    return {
        "questions": len(rows),
        "positive": int(labels.sum()),
        "auc": found.document() if found else {"value": None, "low": None, "high": None},
    }


def describe(
    recommender: Recommender,
    rows: Sequence[Row],
    *,
    max_new_tokens: int,
    batch_size: int,
    on_done: Callable[[int], None],
) -> list[str]:
    """What the model says, greedily, to each row's question: its answer in words."""
    tokenizer = recommender.renderer.tokenizer
    ends = [recommender.renderer.document_end_id, token_id(tokenizer, TURN_END)]
    prompts = [_prompt(recommender, row) for row in rows]
    said: dict[int, str] = {}
    for places in batches([len(prompt) for prompt in prompts], size=batch_size):
        asked = [prompts[place] for place in places]
        answers = say_greedily(recommender.lm, asked, max_tokens=max_new_tokens, ends=ends)
        texts = tokenizer.batch_decode(answers, skip_special_tokens=True)
        said.update(zip(places, (text.strip() for text in texts), strict=True))
        on_done(len(places))
    return [said[place] for place in range(len(rows))]


def description_figures(
    rows: Sequence[Row], said: Sequence[str], *, settings: Evaluation, seed: int
) -> dict[str, Any]:
    """ROUGE-L and chrF of descriptions, and some of them."""
    wanted = [_answer(row).content for row in rows]
    pairs = list(zip(said, wanted, strict=True))
    figures: dict[str, Any] = {"questions": len(rows)}
    for name, metric in (("rouge_l", rouge_l), ("chrf", chrf)):
        values = np.array([metric(ours, theirs) for ours, theirs in pairs])
        figures[name] = metrics.estimate(values, samples=settings.bootstrap_samples, seed=seed).document()
    figures["examples"] = [{"said": ours, "wanted": theirs} for ours, theirs in pairs[:EXAMPLES]]
    return figures


def _contrast(recommender: Recommender, row: Row) -> tuple[list[int], int, int]:
    """The prompt up to where yes and no differ as they are trained, and the token of each there."""
    yes, no = (_ids(recommender, row, str(_told(row, word))) for word in ("yes", "no"))
    common = next((place for place, (a, b) in enumerate(zip(yes, no, strict=False)) if a != b), None)
    if common is None:
        raise DataError(f"{row.file}, row {row.row}: yes and no are the same words; give two that differ")
    return yes[:common], yes[common], no[common]


def _ids(recommender: Recommender, row: Row, answer: str) -> list[int]:
    [rendered] = recommender.renderer.render_many([_answered(row, answer)])
    if isinstance(rendered, RowError):
        raise DataError(f"{row.file}, row {row.row}: {rendered}; yes and no are answers in words")
    ids: list[int] = rendered.input_ids.tolist()
    return ids


def _told(row: Row, key: str) -> Any:
    if key not in row.metadata:
        raise DataError(
            f"{row.file}, row {row.row}: its metadata do not tell {key!r}; rows of label_prediction have "
            "label, yes and no"
        )
    return row.metadata[key]


def _prompt(recommender: Recommender, row: Row) -> list[int]:
    """Tokens of a row before the words of its last answer; a think block is of the prompt."""
    try:
        script = recommender.renderer.script_of(row)
    except RowError as fault:
        raise DataError(f"{row.file}, row {row.row}: {fault}; held-out rows need an answer") from fault
    assert script.spans, "a chat with an answer has a trained span"
    words = script.text.rfind(_answer(row).content.strip(), *script.spans[-1])
    if words < 0:
        raise DataError(
            f"{row.file}, row {row.row}: the chat template changes the answer; it cannot be asked"
        )
    backend = recommender.renderer.tokenizer.backend_tokenizer
    return list(backend.encode(script.text[:words], add_special_tokens=False).ids)


def _answered(row: Row, answer: str) -> Row:
    assert row.messages is not None, "rows of answers are chats"
    return replace(row, messages=(*row.messages[:-1], Message("assistant", answer)))


def _answer(row: Row) -> Message:
    if not row.messages:
        raise DataError(f"{row.file}, row {row.row} is no chat; held-out rows are questions with an answer")
    return row.messages[-1]
