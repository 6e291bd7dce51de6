"""The loss of held-out answers, beside that of the popularity model, where a step is given data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from onerec.errors import DataError
from onerec.evaluate.heldout import heldout_loss
from onerec.evaluate.popularity import answers_of, mentions, popularity_nats
from onerec.model.attention import register_document_attention
from onerec.model_test.check import Finding, Trial
from onerec.model_test.forward import TEXT
from onerec.model_test.template import TEMPLATE

if TYPE_CHECKING:
    from onerec.config import TestModelConfig
    from onerec.model_test.subject import Subject

GROUP = "held-out answers"


def trials_of(config: TestModelConfig) -> list[Trial]:
    """The comparison, where there is data for it; it comes last, for the model is another after it."""
    if config.heldout_dir is None:
        return []
    look = partial(compare, config.heldout_dir, config.popularity_dir)
    return [Trial(GROUP, GROUP, look, needs=(TEXT, TEMPLATE))]


def compare(heldout_dir: str, popularity_dir: str | None, subject: Subject) -> Finding:
    """Loss of the model, and of the popularity model where given; the record holds the figures.

    The model is on the CPU, in fp32, afterwards. Raises DataError for data that cannot be compared.
    """
    folder = Path(heldout_dir)
    subject.model.set_attn_implementation(register_document_attention())
    lm = subject.model.to("cpu", torch.float32)
    model = heldout_loss(lm, subject.renderer, folder)
    figures = {"answers": model.answers, "model": model.per_answer, "model_per_token": model.per_token}
    if popularity_dir is not None:
        counts, answers = mentions(Path(popularity_dir)), answers_of(folder)
        if len(answers) != model.answers:
            raise DataError(
                f"{folder}: {model.answers} answers, of which {len(answers)} name an item; "
                "popularity can be compared only where every answer is an item"
            )
        figures["popularity"] = popularity_nats(counts, answers)
    return Finding("ok" if math.isfinite(figures["model"]) else "failed", described(figures), figures)


def described(figures: Mapping[str, float]) -> str:
    """The comparison in one line."""
    text = (
        f"{figures['answers']:.0f}, model {figures['model']:.3f} nats per answer "
        f"({figures['model_per_token']:.3f} per token)"
    )
    if "popularity" not in figures:
        return text
    return f"{text}, popularity (unigram) model {figures['popularity']:.3f} nats per answer"
