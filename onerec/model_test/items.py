"""Items in what a model says: which itemic tokens form whole items, and which do not.

Pure; the prompt goes before the answer, so that an answer may go on from the middle of an item.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onerec.vocab import ItemicVocab


@dataclass(frozen=True)
class Items:
    """Items of an answer: how many end in it, how many tokens are part of none, whether one is left open."""

    whole: int
    stray: int
    is_open: bool


def items_in(answer: Sequence[int], *, prompt: Sequence[int], vocab: ItemicVocab) -> Items:
    """Read an answer after its prompt, token by token: begin, one code of each level, end."""
    run: list[bool] = []  # of each token of the item that is open: whether the answer has it
    whole = stray = 0
    for place, token in enumerate([*prompt, *answer]):
        is_said = place >= len(prompt)
        if token == _expected(vocab, len(run), token):
            run.append(is_said)
            if len(run) == vocab.layer_n + 2:
                whole += is_said
                run = []
            continue
        stray += sum(run)
        run = []
        if token == vocab.begin_id:
            run = [is_said]
        elif vocab.first_id <= token <= vocab.last_id:
            stray += is_said
    return Items(whole=whole, stray=stray, is_open=bool(run))


def _expected(vocab: ItemicVocab, done: int, token: int) -> int | None:
    """`token` if it may stand after `done` tokens of an item, else None."""
    if done == 0:
        return token if token == vocab.begin_id else None
    if done == vocab.layer_n + 1:
        return token if token == vocab.last_id else None
    first = vocab.id_of(done - 1, 0)
    return token if first <= token < first + vocab.size_per_layer else None
