"""Questions of the hit rate: chat rows that an item answers, rendered as in training, cut before its codes.

Which rows are drawn depends on the folder and the seed alone. No model is known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from onerec.data.source.read import footer, rows
from onerec.data.source.sources import locations_of
from onerec.data.source.validate import RowError
from onerec.data.text.render import Rendered
from onerec.errors import ConfigError, DataError
from onerec.vocab import item_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onerec.data.source.validate import Row
    from onerec.data.text.render import Renderer
    from onerec.items.item_map import ItemMap
    from onerec.vocab import ItemicVocab


REMEDY = "give rows that items answer, such as the validation rows of build_data"


@dataclass(frozen=True)
class Question:
    """One row that an item answers."""

    prompt: tuple[int, ...]
    """Token ids up to the begin token of the answer's item, which is the last of them."""
    target: int
    """Number of the item that answers."""


def draw_rows(folder: str, *, most: int, seed: int) -> list[Row]:
    """At most so many rows of a folder, drawn by the seed, in their order; DataError where there are none."""
    places = sorted(locations_of(folder))
    total = sum(footer(place).rows for place in places)
    if not total:
        raise DataError(f"{folder} has no rows to measure a hit rate on; take hit_rate out of the stage")
    drawn = np.random.default_rng(seed).choice(total, size=min(most, total), replace=False)
    chosen = set(drawn.tolist())
    some = islice(rows(folder), max(chosen) + 1)
    return [row for number, row in enumerate(some) if number in chosen]


def ask(
    drawn: Sequence[Row],
    *,
    renderer: Renderer,
    items: ItemMap,
    vocab: ItemicVocab,
    max_length: int,
) -> list[Question]:
    """The questions of rows, in their order.

    Raises DataError for a row that no item of the map answers, ConfigError for a question that does not fit
    into `max_length` tokens together with its answer.
    """
    number_of = {tuple(codes): number for number, codes in enumerate(items.codes_NL.tolist())}
    questions = []
    for row, rendered in zip(drawn, renderer.render_many(drawn), strict=True):
        prompt, codes = _cut(row, rendered, vocab=vocab)
        if codes not in number_of:
            raise _told(
                row,
                f"the answer {item_text(codes)} is no item of the map",
                "give both of one build_data stage",
            )
        if len(prompt) + vocab.layer_n > max_length:
            raise ConfigError(
                f"{row.file}, row {row.row}: the question has {len(prompt)} tokens, and a pack only "
                f"{max_length}; raise max_length, or build shorter histories"
            )
        questions.append(Question(prompt, number_of[codes]))
    return questions


def _cut(
    row: Row, rendered: Rendered | RowError, *, vocab: ItemicVocab
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens up to the first item of the last answer, and the codes of that item."""
    if isinstance(rendered, RowError):
        raise _told(row, str(rendered), "correct the row")
    ids = rendered.input_ids.tolist()
    start, end = rendered.spans[-1]
    if vocab.begin_id not in ids[start:end]:
        raise _told(row, "no item begins in the answer", REMEDY)
    at = ids.index(vocab.begin_id, start) + 1
    codes = tuple(token - vocab.id_of(level, 0) for level, token in enumerate(ids[at : at + vocab.layer_n]))
    if len(codes) < vocab.layer_n or any(not 0 <= code < vocab.size_per_layer for code in codes):
        raise _told(row, "the item of the answer is not whole", REMEDY)
    return tuple(ids[:at]), codes


def _told(row: Row, what: str, remedy: str) -> DataError:
    return DataError(f"{row.file}, row {row.row}: {what}; {remedy}")
