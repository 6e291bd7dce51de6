"""Vectors of items: what is written about them beside whom they were chosen by, or vectors from elsewhere.

Events that are not trained cannot influence a vector.

Shapes: N items, E events, D vector width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onerec.build.ids.choices import choice_vectors
from onerec.build.ids.encoder import TextEncoder, digest_of, encode_items_text
from onerec.build.ids.text import TextSpace, text_space
from onerec.build.ids.threads import threads_for
from onerec.build.interactions import Float32, Interactions, Item
from onerec.errors import DataError

if TYPE_CHECKING:
    from onerec.config import BuildData

EXAMPLES = 3


@dataclass(frozen=True)
class TextAndChoices:
    """Words in a space of their own, and beside them room for choices, which new items do not have."""

    space: TextSpace
    text_scale: float
    choice_width: int

    def of_new(self, items: Sequence[Item], embeddings_ND: Float32 | None = None) -> Float32:  # noqa: ARG002
        """Vectors of new items, (N, D): text alone."""
        text_NK = self.space.vectors(items) * np.float32(self.text_scale)
        return np.hstack([text_NK, np.zeros((len(items), self.choice_width), dtype=np.float32)])


@dataclass(frozen=True)
class Given:
    """A column of the items' table."""

    width: int

    def of_new(self, items: Sequence[Item], embeddings_ND: Float32 | None = None) -> Float32:
        """The vectors of new items as they are given, (N, D); raises DataError for none or other widths."""
        if embeddings_ND is None or embeddings_ND.shape[1] != self.width:
            found = "none" if embeddings_ND is None else f"{embeddings_ND.shape[1]} numbers"
            raise DataError(
                f"the new items need embeddings of {self.width} numbers, as the build had; found {found}; "
                "name their column as columns.embedding"
            )
        return checked(embeddings_ND, items)


Vectoriser = TextAndChoices | Given | TextEncoder


@dataclass(frozen=True)
class ItemVectors:
    """Vectors of all items, and what is needed to make vectors of new ones."""

    vectors_ND: Float32
    vectoriser: Vectoriser


def item_vectors(
    interactions: Interactions,
    trained_E: npt.NDArray[np.bool_],
    *,
    data: BuildData,
    rng: np.random.Generator,
) -> ItemVectors:
    """Vectors of all items as `data.item_vectors` says; raises DataError for embeddings that are missing."""
    if data.item_vectors == "embedding":
        return _given(interactions)
    if data.item_vectors == "text_encoder":
        return _encoded(interactions.items, Path(str(data.text_encoder_dir)))
    with threads_for(len(interactions.items)):
        return _text_and_choices(interactions, trained_E, data=data, rng=rng)


def checked(vectors_ND: Float32, items: Sequence[Item]) -> Float32:
    """The vectors; raises DataError naming items whose vector has a missing or infinite number."""
    bad = np.flatnonzero(~np.isfinite(vectors_ND).all(axis=1))
    if len(bad):
        some = ", ".join(items[i].pid for i in bad[:EXAMPLES])
        raise DataError(
            f"{len(bad):,} of {len(items):,} items have no embedding, or one that is not finite "
            f"({some}{', ...' if len(bad) > EXAMPLES else ''}); complete the column, or leave these items out"
        )
    return np.ascontiguousarray(vectors_ND, dtype=np.float32)


def _given(interactions: Interactions) -> ItemVectors:
    if interactions.embeddings_ND is None:
        raise DataError(
            'item_vectors = "embedding", but the items have no embeddings; name columns.embedding'
        )
    vectors_ND = checked(interactions.embeddings_ND, interactions.items)
    return ItemVectors(vectors_ND, Given(vectors_ND.shape[1]))


def _encoded(items: Sequence[Item], folder: Path) -> ItemVectors:
    vectors_ND = encode_items_text(items, folder)
    folder = folder.resolve()
    return ItemVectors(vectors_ND, TextEncoder(str(folder), digest_of(folder), vectors_ND.shape[1]))


def _text_and_choices(
    interactions: Interactions, trained_E: npt.NDArray[np.bool_], *, data: BuildData, rng: np.random.Generator
) -> ItemVectors:
    """Text has `text_share` of the width and of the power, the mean squared length, which is 1 in all."""
    text_width, choice_width = _widths(data.item_vector_size, data.text_share)
    space, text_NK = text_space(interactions.items, width=text_width, rng=rng)
    choices_NK = choice_vectors(interactions, trained_E, width=choice_width, rng=rng)
    text_scale = _scale(text_NK, data.text_share)
    choice_scale = _scale(choices_NK, 1 - data.text_share)
    vectors_ND = np.hstack([text_NK * np.float32(text_scale), choices_NK * np.float32(choice_scale)])
    return ItemVectors(vectors_ND, TextAndChoices(space, text_scale, choice_width))


def _widths(width: int, text_share: float) -> tuple[int, int]:
    text = int(width * text_share)
    if 0 < text_share < 1 and width > 1:
        text = min(max(text, 1), width - 1)
    return text, width - text


def _scale(vectors_NK: Float32, power: float) -> float:
    """What brings the mean squared length to `power`; 1 for vectors that are all zero."""
    now = float(np.square(vectors_NK, dtype=np.float64).sum()) / max(1, len(vectors_NK))
    return float(np.sqrt(power / now)) if now > 0 else 1.0
