"""Checks of the rows of embedding and head: none of an itemic token is zero, a twin, or out of all measure.

Shapes: V rows of a table, I itemic rows, D width.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

import torch

from onerec.model.hf_folder import EMBEDDING, HEAD
from onerec.model_test.check import Finding, Trial, verdict
from onerec.model_test.moments import row_norms
from onerec.model_test.tokens import ITEMIC, LOADS, TABLE
from onerec.model_test.weights import FINITE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onerec.model_test.subject import Subject

FAR = 2.0
"""How many times beyond the 1st or the 99th of 100 text rows the norm of an itemic row is far from them."""


def check_zero_rows(subject: Subject) -> Finding:
    """No row of an itemic token is zero; a text token's may be, where it was never trained."""
    faults: list[str] = []
    notes: list[str] = []
    for name, table_VD in _tables(subject):
        zero = set((row_norms(table_VD) == 0).nonzero().flatten().tolist())
        itemic = sorted(zero & set(_itemic_ids(subject)))
        # torch itself makes the row of the padding zero in a new table
        text = sorted(zero & set(_text_ids(subject)) - {subject.config.pad_token_id})
        for ids, told in ((itemic, faults), (text, notes)):
            if ids:
                told.append(
                    f"{name} in {subject.file_of(name)}: {len(ids):,} zero, first {_token(subject, ids[0])}"
                )
    return verdict(faults, "") if faults else verdict(notes, "no token's row is zero", status="note")


def check_twins(subject: Subject) -> Finding:
    """No two itemic tokens have the same row: the model could not tell them apart."""
    vocab = subject.vocab
    faults = []
    for name, table_VD in _tables(subject):
        rows_ID = table_VD[vocab.first_id : vocab.last_id + 1].detach().cpu().contiguous()
        first_with: dict[bytes, int] = {}
        twins = [
            (first, number)
            for number, row in enumerate(rows_ID.view(torch.uint8).numpy(), start=vocab.first_id)
            if (first := first_with.setdefault(hashlib.blake2b(row).digest(), number)) != number
        ]
        if twins:
            one, other = (_token(subject, number) for number in twins[0])
            faults.append(
                f"{name} in {subject.file_of(name)}: itemic rows that copy another: {len(twins):,}, "
                f"first {other} of {one}"
            )
    return verdict(faults, f"{vocab.num_tokens:,} different rows")


def check_norms(subject: Subject) -> Finding:
    """Norms of itemic rows are like those of text rows."""
    notes, told = [], []
    for name, table_VD in _tables(subject):
        norms_V = row_norms(table_VD)
        text, itemic = norms_V[_text_ids(subject)], norms_V[_itemic_ids(subject)]
        low, high = (float(text.quantile(share)) for share in (0.01, 0.99))
        told.append(
            f"{name.split('.')[-2]}: itemic {itemic.min():.3g} to {itemic.max():.3g}, "
            f"median {itemic.median():.3g}; text {low:.3g} to {high:.3g} (1 to 99 of 100), "
            f"median {text.median():.3g}"
        )
        far = int(((itemic < low / FAR) | (itemic > high * FAR)).sum())
        if far:
            notes.append(f"{far:,} of {len(itemic):,} itemic rows are far from the text rows")
    return verdict([*notes, *told] if notes else [], "; ".join(told), status="note")


def _tables(subject: Subject) -> Iterator[tuple[str, torch.Tensor]]:
    parameters = dict(subject.model.named_parameters())
    yield from ((name, parameters[name]) for name in (EMBEDDING, HEAD) if name in parameters)


def _itemic_ids(subject: Subject) -> list[int]:
    return [] if subject.itemic is None else sorted(subject.itemic.known.values())


def _text_ids(subject: Subject) -> list[int]:
    itemic = set(_itemic_ids(subject))
    return sorted(set(subject.renderer.tokenizer.get_vocab().values()) - itemic)


def _token(subject: Subject, number: int) -> str:
    return f"{subject.renderer.tokenizer.backend_tokenizer.id_to_token(number)!r} ({number})"


_trial = partial(Trial, "weights")
TRIALS = (
    _trial("no zero row", check_zero_rows, needs=(FINITE, TABLE, LOADS)),
    _trial("no twin rows", check_twins, needs=(FINITE, TABLE, ITEMIC)),
    _trial("row norms", check_norms, needs=(FINITE, TABLE, ITEMIC)),
)
