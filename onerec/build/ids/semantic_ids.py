"""Semantic ids of all items of a data set: vectors, residual k-means, one id per item, and how good they are.

The same seed and data give the same ids. How each part is done stands in its own file.

Shapes: N items, L levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onerec.build.ids.given import GivenIds, read_given_ids
from onerec.build.ids.quality import Quality, quality
from onerec.build.ids.residual import Coded, books_of_ids, residual_kmeans
from onerec.build.ids.stored import save_codebooks
from onerec.build.ids.threads import threads_for
from onerec.build.ids.vectors import ItemVectors, item_vectors
from onerec.build.interactions import Int64

if TYPE_CHECKING:
    from onerec.build.interactions import Interactions
    from onerec.build.split import Split
    from onerec.config import BuildData, Vocab


@dataclass(frozen=True)
class SemanticIds:
    """Ids of all items, no two alike, and what they cost."""

    codes_NL: Int64
    quality: Quality
    remarks: tuple[str, ...] = ()
    """What was found odd about ids that were given."""

    def report_lines(self, num_codes: int) -> list[str]:
        """What a person is told."""
        return [*self.quality.lines(num_codes), *self.remarks]


def make_ids(
    interactions: Interactions, split: Split, *, data: BuildData, vocab: Vocab, seed: int, folder: Path
) -> SemanticIds:
    """Ids from the items' vectors, in which training events alone have a part; codebooks/ goes into `folder`.

    Raises ConfigError when the items do not fit into the vocabulary, DataError for vectors or given ids that
    cannot be used.
    """
    rng = np.random.default_rng(seed)
    given = _given(interactions, data=data, vocab=vocab)
    made = item_vectors(interactions, split.is_trained(interactions), data=data, rng=rng)
    with threads_for(len(interactions.items)):
        if given is None:
            coded = _made(made, data=data, vocab=vocab, rng=rng)
        else:
            coded = books_of_ids(made.vectors_ND, given.codes_NL, codes=vocab.vocab_size_per_layer)
        measured = quality(made.vectors_ND, coded, rng=rng)
    save_codebooks(folder, coded.books, made.vectoriser, about=measured.as_json())
    return SemanticIds(coded.codes_NL, measured, given.remarks if given else ())


def _given(interactions: Interactions, *, data: BuildData, vocab: Vocab) -> GivenIds | None:
    if data.given_ids is None:
        return None
    return read_given_ids(Path(data.given_ids), [item.pid for item in interactions.items], vocab=vocab)


def _made(made: ItemVectors, *, data: BuildData, vocab: Vocab, rng: np.random.Generator) -> Coded:
    return residual_kmeans(
        made.vectors_ND,
        levels=vocab.itemic_layer_n,
        codes=vocab.vocab_size_per_layer,
        balanced=data.clustering == "balanced",
        batch_size=data.clustering_batch_size,
        rng=rng,
    )
