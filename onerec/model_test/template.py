"""The check of the chat template: chats to be answered, chats to be trained on, thinking on and off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import TemplateError

from onerec.data.source.validate import RowError
from onerec.data.text.chat import HEADER, turns_of
from onerec.data.text.tokenizer import TURN_END, TURN_START
from onerec.model_test.check import Finding, Trial, verdict
from onerec.model_test.tokens import LOADS

if TYPE_CHECKING:
    from onerec.model_test.subject import Subject

TEMPLATE = "chat template"
SYSTEM = "You recommend films."
QUESTION, ANSWER = "What shall I watch tonight?", "Something quiet."
THINK_END = "</think>"


def check_template(subject: Subject) -> Finding:
    """A question opens the assistant's turn, thinking on and off; an answer is a turn that ends."""
    if subject.renderer.tokenizer.chat_template is None:
        return Finding("failed", "the tokenizer has none; copy chat_template.jinja of the base model")
    try:
        on, off = (_question(subject, enable_thinking=thinks) for thinks in (True, False))
        faults = [fault for text in (on, off) for fault in _faults_of_question(subject, text)]
        faults += _faults_of_answer(subject)
    except (TemplateError, TypeError) as fault:  # TypeError: what templates do with what is not there
        return Finding("failed", f"the template fails: {fault}")
    if faults:
        return verdict(sorted(set(faults)), "")
    if THINK_END not in off.rpartition(HEADER)[2] or on == off:
        return Finding(
            "note", "renders; enable_thinking changes nothing in it, so thinking cannot be turned off"
        )
    return Finding("ok", "renders questions and answers, with thinking on and off")


def _question(subject: Subject, *, enable_thinking: bool) -> str:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    return subject.chat_text(messages, enable_thinking=enable_thinking)


def _faults_of_question(subject: Subject, text: str) -> list[str]:
    faults = [f"{said!r} is not in the text" for said in (SYSTEM, QUESTION) if said not in text]
    if not text.rpartition(TURN_START)[2].startswith(HEADER.removeprefix(TURN_START)):
        faults.append(f"the text opens no turn of the assistant, but ends in {text[-40:]!r}")
    [marker] = subject.ids_of(TURN_START)
    if subject.ids_of(text).count(marker) != text.count(TURN_START):
        faults.append(f"{TURN_START} is not one token everywhere in the text")
    return faults


def _faults_of_answer(subject: Subject) -> list[str]:
    messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
    text = subject.chat_text(messages, answered=True)
    try:
        turns = [text[start:end] for start, end in turns_of(text)]
    except RowError as fault:
        return [str(fault)]
    if [turn.endswith(ANSWER + TURN_END) for turn in turns] == [True]:
        return []
    return [f"an answer is not one turn that ends in {TURN_END}, but {turns}"]


TRIALS = (Trial("tokenizer", TEMPLATE, check_template, needs=(LOADS,)),)
