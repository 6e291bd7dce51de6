"""Checks of forward passes: finite logits and a sensible loss, on a text, a chat and a history of items.

Shapes: T tokens, V rows of the table.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch

from onerec.model_test.check import Finding, Trial, verdict
from onerec.model_test.template import ANSWER, QUESTION, TEMPLATE
from onerec.model_test.tokens import ITEMIC, LOADS, TABLE
from onerec.model_test.weights import LOADED
from onerec.vocab import ItemicVocab, item_text

if TYPE_CHECKING:
    from onerec.model_test.subject import Subject

TEXT = "forward, text"
A_TEXT = "A user's history, item by item, and what comes next."
HISTORY_ITEMS = 6
HOPELESS = 3.0
"""Times the loss of guessing from which on a loss is no longer that of a model, however little trained."""
WORSE_THAN_GUESSING = 1.05


def check_text(subject: Subject) -> Finding:
    """A text."""
    return _check_loss(subject, A_TEXT)


def check_chat(subject: Subject) -> Finding:
    """A question and its answer."""
    messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
    return _check_loss(subject, subject.chat_text(messages, answered=True))


def check_history(subject: Subject) -> Finding:
    """A history of items."""
    return _check_loss(subject, a_history(subject.vocab))


def a_history(vocab: ItemicVocab) -> str:
    """Some items, one after the other."""
    levels, size = range(vocab.layer_n), vocab.size_per_layer
    items = [tuple((5 * number + 3 * level) % size for level in levels) for number in range(HISTORY_ITEMS)]
    return "".join(map(item_text, items))


@torch.no_grad()
def _check_loss(subject: Subject, text: str) -> Finding:
    ids_1T = torch.tensor([subject.ids_of(text)], device=subject.model.device)
    result = subject.model(input_ids=ids_1T, labels=ids_1T)
    loss, chance = float(result.loss), math.log(subject.config.vocab_size)
    told = f"loss {loss:.3f} on {ids_1T.shape[1]} tokens (guessing: {chance:.3f})"
    if not (math.isfinite(loss) and bool(result.logits.isfinite().all())):
        return Finding("failed", f"logits are not finite; {told}")
    if loss >= HOPELESS * chance:
        return Finding("failed", f"{told}: far worse than guessing")
    worse = [f"{told}: worse than guessing"] if loss > WORSE_THAN_GUESSING * chance else []
    return verdict(worse, told, status="note")


_trial = partial(Trial, "forward")
TRIALS = (
    _trial(TEXT, check_text, needs=(LOADED, LOADS, TABLE)),
    _trial("forward, chat", check_chat, needs=(TEXT, TEMPLATE)),
    _trial("forward, items", check_history, needs=(TEXT, ITEMIC)),
)
