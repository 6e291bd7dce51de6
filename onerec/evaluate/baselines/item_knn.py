"""Item neighbours: items chosen by the same users are alike, and the next item is like the recent ones.

Cosine over the sets of users who chose an item (Sarwar et al., WWW 2001; as implicit does), with a
shrinkage term against items of few users. Settings are chosen from GRID by recall on the validation targets.
Only a chunk of items by all items exists at one time, beside the neighbours that are kept.

Shapes: B histories, N items, E events, K neighbours, C items of a chunk, H recent items.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from onerec.evaluate.baselines.baseline import Float32, Questions, quality
from onerec.evaluate.histories import Histories, Int32, Int64

NEIGHBOURS = (20, 50, 100, 200)
SHRINKS = (0.0, 10.0, 50.0)
RECENT = (5, 20, 100)
DECAYS = (1.0, 0.95, 0.85, 0.7)
"""Weight of an item of the history in relation to that of the item after it."""

CHUNK_CELLS = 16_000_000
"""Chunk items by all items: 128 MB."""
CHUNK_PAIRS = 4_000_000
"""Pairs of events of one user that exist at one time."""


@dataclass(frozen=True)
class Settings:
    """How likeness is measured and how much of a history is asked."""

    neighbours: int
    shrink: float
    recent: int
    decay: float


DEFAULT = Settings(neighbours=100, shrink=10.0, recent=20, decay=0.85)
"""Where there are no validation targets."""


@dataclass(frozen=True)
class ItemKNN:
    """Neighbours of every item, best first; places without a neighbour have likeness 0."""

    neighbours_NK: Int32
    likeness_NK: Float32
    settings: Settings
    told: tuple[str, ...] = ()

    def scores(self, histories: Sequence[Int32]) -> Float32:
        """Sum over the recent items of how much each has an item for a neighbour, (B, N)."""
        num_items = len(self.neighbours_NK)
        scores_BN = np.zeros((len(histories), num_items), dtype=np.float32)
        width = self.settings.neighbours
        for row_N, history in zip(scores_BN, histories, strict=True):
            recent_H = history[-self.settings.recent :]
            weights_H = self.settings.decay ** np.arange(len(recent_H))[::-1]
            terms_HK = weights_H[:, None] * self.likeness_NK[recent_H, :width]
            places_HK = self.neighbours_NK[recent_H, :width]
            row_N[:] = np.bincount(places_HK.ravel(), weights=terms_HK.ravel(), minlength=num_items)
        return scores_BN


def fit_item_knn(histories: Histories, *, seed: int, exclude_history: bool = True) -> ItemKNN:
    """Find neighbours in the training part and choose by recall, then NDCG, of validation targets."""
    questions = Questions.of_validation(histories, seed=seed, exclude_history=exclude_history)
    if not len(questions):
        model = neighbours_of(histories, shrink=DEFAULT.shrink, most=DEFAULT.neighbours)
        return _with(model, DEFAULT, "item_knn: no validation targets, so default settings")
    best, best_quality = None, (-1.0, -1.0)
    for shrink in SHRINKS:
        fitted = neighbours_of(histories, shrink=shrink, most=max(NEIGHBOURS))
        for neighbours, recent, decay in product(NEIGHBOURS, RECENT, DECAYS):
            model = _with(fitted, Settings(neighbours, shrink, recent, decay), "")
            found = quality(model, questions)
            if (found.recall, found.ndcg) > best_quality:
                best, best_quality = model, (found.recall, found.ndcg)
    assert best is not None
    chosen = f"recall@10 {best_quality[0]:.4f} and NDCG@10 {best_quality[1]:.4f} on validation targets"
    return _with(best, best.settings, chosen)


def neighbours_of(histories: Histories, *, shrink: float, most: int) -> ItemKNN:
    """The `most` items likest to each, by users in common / (sqrt(users x users) + shrink)."""
    incidence = _Incidence.of_training(histories)
    kept = min(most, histories.num_items)
    neighbours_NK = np.zeros((histories.num_items, kept), dtype=np.int32)
    likeness_NK = np.zeros((histories.num_items, kept), dtype=np.float32)
    for chunk, common_CN in _common_users(incidence):
        norms_CN = np.sqrt(np.outer(incidence.users_of_items[chunk], incidence.users_of_items)) + shrink
        likeness_CN = (common_CN / np.maximum(norms_CN, 1e-12)).astype(np.float32)
        best_CK = np.argsort(-likeness_CN, axis=1, kind="stable")[:, :kept]
        neighbours_NK[chunk] = best_CK
        likeness_NK[chunk] = np.take_along_axis(likeness_CN, best_CK, axis=1)
    return ItemKNN(neighbours_NK, likeness_NK, DEFAULT)


@dataclass(frozen=True)
class _Incidence:
    """Which user has which item in the training part, once each, ordered by user and ordered by item."""

    items_E: Int64
    """By user."""
    offsets_U1: Int64
    users_by_item_E: Int64
    offsets_N1: Int64

    @property
    def users_of_items(self) -> Int64:
        """Users of each item."""
        return np.diff(self.offsets_N1)

    @classmethod
    def of_training(cls, histories: Histories) -> _Incidence:
        lengths_U = np.diff(histories.offsets_U1)
        is_trained = histories.is_trained
        users_E = np.repeat(np.arange(histories.num_users), lengths_U)[is_trained]
        cells_E = np.unique(users_E * histories.num_items + histories.items_E[is_trained])
        users_E, items_E = np.divmod(cells_E, max(histories.num_items, 1))
        by_item_E = np.argsort(items_E, kind="stable")
        return cls(
            items_E,
            _offsets(users_E, histories.num_users),
            users_E[by_item_E],
            _offsets(items_E, histories.num_items),
        )


def _offsets(numbers_E: Int64, count: int) -> Int64:
    return np.concatenate([[0], np.cumsum(np.bincount(numbers_E, minlength=count))])


def _common_users(incidence: _Incidence) -> Iterator[tuple[slice, Float32]]:
    """Number of users that each item of a chunk shares with every other item; none with itself, (C, N)."""
    num_items = len(incidence.users_of_items)
    step = max(1, CHUNK_CELLS // max(num_items, 1))
    for start in range(0, num_items, step):
        chunk = slice(start, min(start + step, num_items))
        common = np.zeros((chunk.stop - start) * num_items, dtype=np.float32)
        for cells in _cells(incidence, chunk):
            common += np.bincount(cells, minlength=len(common)).astype(np.float32)
        common_CN = common.reshape(-1, num_items)
        common_CN[np.arange(len(common_CN)), np.arange(start, chunk.stop)] = 0.0
        yield chunk, common_CN


def _cells(incidence: _Incidence, chunk: slice) -> Iterator[Int64]:
    """A cell (item of the chunk, other item) for each user that has both; CHUNK_PAIRS or so at a time."""
    num_items = len(incidence.users_of_items)
    begin, end = incidence.offsets_N1[chunk.start], incidence.offsets_N1[chunk.stop]
    users_E = incidence.users_by_item_E[begin:end]
    rows_E = np.repeat(np.arange(chunk.stop - chunk.start), incidence.users_of_items[chunk])
    lengths_E = np.diff(incidence.offsets_U1)[users_E]
    pieces_E = np.cumsum(lengths_E) // CHUNK_PAIRS
    for piece in np.unique(pieces_E):
        of_piece = pieces_E == piece
        lengths, total = lengths_E[of_piece], int(lengths_E[of_piece].sum())
        firsts = np.repeat(incidence.offsets_U1[users_E[of_piece]] - (np.cumsum(lengths) - lengths), lengths)
        others = incidence.items_E[firsts + np.arange(total)]
        yield np.repeat(rows_E[of_piece], lengths) * num_items + others


def _with(model: ItemKNN, settings: Settings, remark: str) -> ItemKNN:
    told = (
        f"item_knn: {settings.neighbours} neighbours, shrink {settings.shrink:g}, the last {settings.recent} "
        f"items, each weighing {settings.decay:g} of the one after it; {remark}",
    )
    return ItemKNN(model.neighbours_NK, model.likeness_NK, settings, told)
