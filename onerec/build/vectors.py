"""Item vectors: what is written about an item, beside whom it was chosen by.

Interactions that are not given here cannot influence a vector: callers hand in the training part only.

Shapes: N items, U users, W words, K width.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from onerec.build.interactions import History, Item
from onerec.build.sparse import Floats, Sparse, principal_rows

WORD = re.compile(r"\w+")


def item_vectors(
    items: Sequence[Item], histories: Sequence[History], *, width: int, rng: np.random.Generator
) -> Floats:
    """Vectors of all items, (N, width): half text, half co-occurrence, each of mean squared length 1."""
    text_width = width // 2
    text = text_vectors(items, width=text_width, rng=rng)
    chosen = choice_vectors(histories, num_items=len(items), width=width - text_width, rng=rng)
    return np.hstack([_of_unit_power(text), _of_unit_power(chosen)])


def text_vectors(items: Sequence[Item], *, width: int, rng: np.random.Generator) -> Floats:
    """TF-IDF of title words, genres and decade, each item of length 1, reduced to (N, width).

    A word that only one item has tells nothing about its likeness to others and is left out.
    """
    words = [sorted(_words(item)) for item in items]
    frequency = Counter(word for own in words for word in own)
    column = {word: i for i, word in enumerate(sorted(word for word, n in frequency.items() if n > 1))}
    rows = [i for i, own in enumerate(words) for word in own if word in column]
    columns = [column[word] for own in words for word in own if word in column]
    weights = [np.log(len(items) / frequency[word]) for own in words for word in own if word in column]
    rows_E, values_E = np.array(rows, dtype=np.int64), np.array(weights, dtype=np.float64)
    lengths_N = np.sqrt(np.bincount(rows_E, weights=values_E**2, minlength=len(items)))
    matrix = Sparse.of(
        rows_E,
        np.array(columns, dtype=np.int64),
        values_E / np.where(lengths_N > 0, lengths_N, 1.0)[rows_E],
        shape=(len(items), len(column)),
    )
    return principal_rows(matrix, width, rng=rng)


def choice_vectors(
    histories: Sequence[History], *, num_items: int, width: int, rng: np.random.Generator
) -> Floats:
    """Factors of the items' cosine likeness over the users who chose them, (N, width), each of length 1 or 0.

    Entries are 1 / sqrt(events of the item x events of the user). The first factor only says how popular an
    item is and is left out.
    """
    users_E = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    items_E = np.array([item for history in histories for item in history], dtype=np.int64)
    of_item_N = np.bincount(items_E, minlength=num_items)
    of_user_U = np.bincount(users_E, minlength=len(histories))
    values_E = 1.0 / np.sqrt(of_item_N[items_E] * of_user_U[users_E])
    matrix = Sparse.of(items_E, users_E, values_E, shape=(num_items, len(histories)))
    factors_NK = principal_rows(matrix, width + 1, rng=rng)[:, 1:]
    lengths_N = np.linalg.norm(factors_NK, axis=1, keepdims=True)
    return np.asarray(factors_NK / np.where(lengths_N > 1e-12, lengths_N, 1.0))


def _words(item: Item) -> set[str]:
    decade = [] if item.year is None else [f"decade:{item.year // 10 * 10}"]
    return {*WORD.findall(item.title.lower()), *(f"genre:{genre}" for genre in item.genres), *decade}


def _of_unit_power(vectors_NK: Floats) -> Floats:
    power = float(np.mean(np.sum(vectors_NK**2, axis=1)))
    return vectors_NK / np.sqrt(power) if power > 0 else vectors_NK
