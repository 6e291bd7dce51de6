"""Checks of generation, one for each test case: what the model says, whether it says it again, what it holds.

Nothing is asked of the words but what the case asks.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from onerec.model_test.check import Finding, Trial, verdict
from onerec.model_test.forward import TEXT
from onerec.model_test.items import Items, items_in
from onerec.model_test.template import TEMPLATE
from onerec.vocab import ITEMIC_PATTERN

if TYPE_CHECKING:
    from onerec.config import GenerationCase
    from onerec.model_test.subject import Subject

GROUP = "generation"


@dataclass(frozen=True)
class Generation:
    """One answer; `stopped` is the end token, or `length` where max_new_tokens cut it off."""

    name: str
    kind: str
    how: str
    prompt: str
    answer: str
    prompt_tokens: int
    tokens: int
    seconds: float
    tokens_per_second: float
    stopped: str
    items: Items | None
    """None where the answer has no itemic token."""


def trials_of(cases: Sequence[GenerationCase]) -> list[Trial]:
    """The check of each case."""
    return [
        Trial(
            GROUP,
            f"{GROUP}, {case.name}",
            partial(check_case, case),
            needs=(TEXT, TEMPLATE) if case.kind == "chat" else (TEXT,),
        )
        for case in cases
    ]


def check_case(case: GenerationCase, subject: Subject) -> Finding:
    """The answer to one case, said twice alike, with all that is expected and nothing that is rejected."""
    spelled = {token for text in (*case.texts(), *case.expect) for token in ITEMIC_PATTERN.findall(text)}
    if subject.itemic is None and (spelled or case.expect_items):
        return Finding("skipped", "no itemic tokens: the folder was never expanded")
    prompt = _prompt(case, subject)
    ids, limit = subject.ids_of(prompt), case.max_new_tokens or subject.max_new_tokens
    faults = _faults_of_prompt(subject, ids, spelled, limit=limit)
    if faults:
        return verdict(faults, "")
    began = time.perf_counter()
    said = _generate(case, subject, ids, limit=limit)
    seconds = time.perf_counter() - began
    told = _told(case, subject, prompt, ids, said, seconds=seconds)
    faults = _faults_of_answer(case, told)
    if said != _generate(case, subject, ids, limit=limit):
        again = f"sampled with seed {case.seed} again" if case.do_sample else "greedy again"
        faults.append(f"{again}, the answer is another")
    text = f"{told.tokens} tokens, {told.tokens_per_second:,.0f} tokens/s, stopped by {told.stopped}"
    if told.items:
        text += f", items: {told.items.whole} whole, {told.items.stray} stray tokens"
    finding = verdict(faults, text)
    return Finding(finding.status, finding.detail, asdict(told))


def _prompt(case: GenerationCase, subject: Subject) -> str:
    if case.kind == "text":
        return case.prompt or ""
    system = [] if case.system is None else [{"role": "system", "content": case.system}]
    messages = [message.model_dump() for message in case.messages]
    return subject.chat_text([*system, *messages], enable_thinking=case.enable_thinking)


def _faults_of_prompt(subject: Subject, ids: list[int], spelled: set[str], *, limit: int) -> list[str]:
    known = subject.itemic.known if subject.itemic else {}
    faults = [
        f"the case spells {token}, which is no token of this folder" for token in sorted(spelled - {*known})
    ]
    longest = subject.config.max_position_embeddings
    if len(ids) + limit > longest:
        faults.append(
            f"a prompt of {len(ids):,} tokens and {limit:,} new ones are more than the model's "
            f"max_position_embeddings, {longest:,}; shorten the case"
        )
    return faults


@torch.no_grad()
def _generate(case: GenerationCase, subject: Subject, ids: list[int], *, limit: int) -> list[int]:
    """Ids of one answer, its end token included; the state of torch's generators stays as it was."""
    wanted: dict[str, Any] = {"temperature": case.temperature, "top_p": case.top_p, "top_k": case.top_k}
    if case.do_sample:  # what is not given comes from generation_config.json, and None would unset it
        wanted = {key: value for key, value in wanted.items() if value is not None}
    ids_1T = torch.tensor([ids], device=subject.model.device)
    with torch.random.fork_rng(
        devices=[torch.cuda.current_device()] if subject.device.type == "cuda" else []
    ):
        torch.manual_seed(case.seed)
        generated = subject.model.generate(
            ids_1T,
            attention_mask=torch.ones_like(ids_1T),
            max_new_tokens=limit,
            pad_token_id=subject.renderer.pad_id,
            do_sample=case.do_sample,
            **wanted,
        )
    said: list[int] = generated[0, len(ids) :].tolist()
    return said


def _told(
    case: GenerationCase, subject: Subject, prompt: str, ids: list[int], said: list[int], *, seconds: float
) -> Generation:
    decode = partial(subject.renderer.tokenizer.decode, skip_special_tokens=False)
    return Generation(
        name=case.name,
        kind=case.kind,
        how=_how(case, subject),
        prompt=prompt,
        answer=decode(said),
        prompt_tokens=len(ids),
        tokens=len(said),
        seconds=seconds,
        tokens_per_second=len(said) / max(seconds, 1e-9),
        stopped=decode([said[-1]]) if said and said[-1] in _ends(subject) else "length",
        items=_items(subject, ids, said),
    )


def _faults_of_answer(case: GenerationCase, told: Generation) -> list[str]:
    faults = [] if told.tokens else ["nothing was said"]
    faults += [f"lacks {piece!r}" for piece in case.expect if piece not in told.answer]
    faults += [f"has {piece!r}, which it must not" for piece in case.reject if piece in told.answer]
    if case.expect_any and not any(piece in told.answer for piece in case.expect_any):
        faults.append(f"has none of {', '.join(map(repr, case.expect_any))}")
    if case.expect_items:
        items = told.items or Items(0, 0, is_open=False)
        if not items.whole:
            faults.append("has no whole item")
        if items.stray:
            faults.append(f"{items.stray} itemic tokens are no part of an item")
        if items.is_open and told.stopped != "length":
            faults.append("ends inside an item")
    return faults


def _items(subject: Subject, ids: list[int], said: list[int]) -> Items | None:
    if subject.itemic is None:
        return None
    known = set(subject.itemic.known.values())
    return items_in(said, prompt=ids, vocab=subject.vocab) if known & set(said) else None


def _ends(subject: Subject) -> list[int]:
    told = subject.model.generation_config.eos_token_id
    return told if isinstance(told, list) else [] if told is None else [told]


def _how(case: GenerationCase, subject: Subject) -> str:
    """`greedy`, or how it was drawn."""
    if not case.do_sample:
        return "greedy"
    config = subject.model.generation_config
    told = [
        f"{key} {value:g}"
        for key in ("temperature", "top_p", "top_k")
        if (value := getattr(case, key) or getattr(config, key, None)) is not None
    ]
    return ", ".join(["sampled", *told, f"seed {case.seed}"])
