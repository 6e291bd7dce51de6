"""Questions for items as they were in training, cut where the answer's item begins, and what comes back.

Needs a renderer and the items; no model is loaded here, nor what a model is computed with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onerec.data.source.validate import Row, RowError
from onerec.data.text.render import Rendered, Renderer
from onerec.errors import ConfigError, DataError
from onerec.items.item_map import ItemMap
from onerec.model.hf_folder import VOCAB_NAME, read_json
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


def itemic_vocab_of(folder: Path) -> ItemicVocab:
    """The itemic tokens that an expanded model folder says it has; raises ConfigError."""
    if not (folder / VOCAB_NAME).is_file():
        raise ConfigError(
            f"{folder} has no {VOCAB_NAME}, so no itemic tokens; give the export of a training stage"
        )
    told = read_json(folder / VOCAB_NAME)
    return ItemicVocab(told["itemic_layer_n"], told["vocab_size_per_layer"], told["first_id"])


def check_fit(items: ItemMap, vocab: ItemicVocab, folder: Path) -> None:
    """Raise ConfigError when a model's vocabulary cannot spell the items."""
    largest = int(items.codes_NL.max())
    if items.layer_n != vocab.layer_n or largest >= vocab.size_per_layer:
        raise ConfigError(
            f"{folder} has {vocab.layer_n} levels of {vocab.size_per_layer} codes, its items have "
            f"{items.layer_n} levels and codes up to {largest}; give the item map that it was trained with"
        )


def _cut(row: Row, rendered: Rendered | RowError, vocab: ItemicVocab) -> list[int]:
    if isinstance(rendered, RowError):
        raise DataError(f"{row.file}, row {row.row}: {rendered}; held-out rows need an answer")
    ids: list[int] = rendered.input_ids.tolist()
    start, end = rendered.spans[-1]
    if vocab.begin_id not in ids[start:end]:
        raise DataError(f"{row.file}, row {row.row}: no item begins in the answer; give rows of items")
    return ids[: ids.index(vocab.begin_id, start) + 1]
