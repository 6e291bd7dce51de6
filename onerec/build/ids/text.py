"""What is written about items as vectors: TF-IDF of words, categories and decade, in fewer dimensions.

Interactions have no part in it. Items that were not there when the words were counted get vectors too.

Shapes: N items, M words that count, E words of all items, K width.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from onerec.build.ids.sparse import Sparse, principal_rows
from onerec.build.ids.words import words_of
from onerec.build.interactions import Float32, Item

MAX_WORDS = 100_000
"""Most words that count: those of the most items."""


@dataclass(frozen=True)
class TextSpace:
    """The words that count, what each weighs, and the axes of the space that they are reduced to."""

    words: tuple[str, ...]
    weights_M: Float32
    """Logarithm of items per item with the word."""
    axes_MK: Float32
    _columns: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_columns", {word: column for column, word in enumerate(self.words)})

    def vectors(self, items: Sequence[Item]) -> Float32:
        """Vectors of items, (N, K): at most of length 1; zero for an item without a word that counts."""
        return self.weighted(items).times(self.axes_MK)

    def weighted(self, items: Sequence[Item]) -> Sparse:
        """TF-IDF of items, (N, M), each of length 1 or 0."""
        columns, counts = array("i"), array("i")
        for item in items:
            own = [self._columns[word] for word in item_words(item) if word in self._columns]
            columns.extend(own)
            counts.append(len(own))
        columns_E = np.frombuffer(columns, dtype=np.int32) if columns else np.zeros(0, dtype=np.int32)
        rows_E = np.repeat(np.arange(len(items), dtype=np.int32), np.array(counts, dtype=np.int64))
        values_E = self.weights_M[columns_E]
        lengths_N = np.sqrt(np.bincount(rows_E, weights=values_E**2, minlength=len(items)))
        values_E /= np.where(lengths_N > 0, lengths_N, 1.0)[rows_E]
        return Sparse.of(rows_E, columns_E, values_E, shape=(len(items), len(self.words)))


def text_space(items: Sequence[Item], *, width: int, rng: np.random.Generator) -> tuple[TextSpace, Float32]:
    """The space of a catalogue's words, and the vectors of its items in it, (N, width).

    A word that only one item has tells nothing about its likeness to others and is left out.
    """
    counts = Counter(word for item in items for word in item_words(item))
    words = _most_frequent((word, count) for word, count in counts.items() if count > 1)
    weights_M = np.array([np.log(len(items) / counts[word]) for word in words], dtype=np.float32)
    nothing = np.zeros((len(words), 0), dtype=np.float32)
    matrix = TextSpace(words, weights_M, nothing).weighted(items)
    vectors_NK, axes_MK = principal_rows(matrix, width, rng=rng)
    return TextSpace(words, weights_M, axes_MK), vectors_NK


def item_words(item: Item) -> Iterable[str]:
    """Each word of title and text once, in order, and a word for each category and for the decade."""
    decade = [] if item.year is None else [f"decade:{item.year // 10 * 10}"]
    categories = (f"category:{category}" for category in item.categories)
    return dict.fromkeys([*words_of(item.title), *words_of(item.text), *categories, *decade])


def _most_frequent(counted: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    ranked = sorted(counted, key=lambda pair: (-pair[1], pair[0]))
    return tuple(sorted(word for word, _ in ranked[:MAX_WORDS]))
