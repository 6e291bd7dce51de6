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
from onerec.errors import DataError
from onerec.evaluate import metrics
from onerec.evaluate.recommender import Recommender
from onerec.evaluate.search import batches
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
    labels = np.array([bool(row.metadata["label"]) for row in rows])
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


@torch.inference_mode()
def describe(
    recommender: Recommender,
    rows: Sequence[Row],
    *,
    max_new_tokens: int,
    batch_size: int,
    on_done: Callable[[int], None],
) -> list[str]:
    """What the model says, greedily, to each row's question: its answer in words."""
    lm, tokenizer = recommender.lm, recommender.renderer.tokenizer
    lm.set_attn_implementation("sdpa")
    prompts = [_prompt(recommender, row)[0] for row in rows]
    said: dict[int, str] = {}
    for places in batches([len(prompt) for prompt in prompts], size=batch_size):
        longest = len(prompts[places[0]])
        pads = [longest - len(prompts[place]) for place in places]
        ids = [
            [recommender.renderer.pad_id] * pad + prompts[place]
            for pad, place in zip(pads, places, strict=True)
        ]
        mask = [[0] * pad + [1] * (longest - pad) for pad in pads]
        generated = lm.generate(
            torch.tensor(ids, device=lm.device),
            attention_mask=torch.tensor(mask, device=lm.device),
            max_new_tokens=max_new_tokens,
            pad_token_id=recommender.renderer.pad_id,
            do_sample=False,
        )
        texts = tokenizer.batch_decode(generated[:, longest:], skip_special_tokens=True)
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
    """The prompt up to where yes and no differ, and the token of each there."""
    (yes_prompt, yes), (_, no) = (
        _prompt(recommender, _answered(row, str(row.metadata[word]))) for word in ("yes", "no")
    )
    common = next((place for place, (a, b) in enumerate(zip(yes, no, strict=False)) if a != b), None)
    if common is None:
        raise DataError(f"{row.file}, row {row.row}: yes and no are the same words; give two that differ")
    return [*yes_prompt, *yes[:common]], yes[common], no[common]


def _prompt(recommender: Recommender, row: Row) -> tuple[list[int], list[int]]:
    """Tokens of a row before the words of its last answer, and of these; a think block is of the prompt."""
    try:
        script = recommender.renderer.script_of(row)
    except RowError as fault:
        raise DataError(f"{row.file}, row {row.row}: {fault}; held-out rows need an answer") from fault
    assert script.spans, "a chat with an answer has a trained span"
    start, end = script.spans[-1]
    words = script.text.rfind(_answer(row).content, start, end)
    backend = recommender.renderer.tokenizer.backend_tokenizer
    before, after = (
        list(backend.encode(text, add_special_tokens=False).ids)
        for text in (script.text[:words], script.text[words:end])
    )
    return before, after


def _answered(row: Row, answer: str) -> Row:
    assert row.messages is not None, "rows of answers are chats"
    return replace(row, messages=(*row.messages[:-1], Message("assistant", answer)))


def _answer(row: Row) -> Message:
    if not row.messages:
        raise DataError(f"{row.file}, row {row.row} is no chat; held-out rows are questions with an answer")
    return row.messages[-1]
