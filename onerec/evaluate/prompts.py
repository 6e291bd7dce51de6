"""Questions for items as they were in training, cut where the answer's item begins, and what comes back.

Needs a renderer and the items; no model is loaded here, nor what a model is computed with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onerec.data.source.validate import Row, RowError
from onerec.data.text.render import Rendered, Renderer
from onerec.errors import DataError
from onerec.vocab import ItemicVocab

NO_NUMBERS = "the model answers with numbers that are none (NaN): its weights are broken; look at them"


@dataclass(frozen=True)
class Answer:
    """Items for one user, best first."""

    items: list[int]
    scores: list[float]


def prompts_of(rows: Sequence[Row], *, renderer: Renderer, vocab: ItemicVocab) -> list[list[int]]:
    """Each row's tokens up to and including the begin token of its answer; DataError without one."""
    return [
        _cut(row, rendered, vocab) for row, rendered in zip(rows, renderer.render_many(rows), strict=True)
    ]


def _cut(row: Row, rendered: Rendered | RowError, vocab: ItemicVocab) -> list[int]:
    if isinstance(rendered, RowError):
        raise DataError(f"{row.file}, row {row.row}: {rendered}; held-out rows need an answer")
    ids: list[int] = rendered.input_ids.tolist()
    start, end = rendered.spans[-1]
    if vocab.begin_id not in ids[start:end]:
        raise DataError(f"{row.file}, row {row.row}: no item begins in the answer; give rows of items")
    return ids[: ids.index(vocab.begin_id, start) + 1]
