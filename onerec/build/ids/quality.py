"""How good semantic ids are: what they keep of the vectors, and how evenly they use the codes.

Nothing here changes an id.

Shapes: N items, D vector width, L levels, S items of a sample.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch

from onerec.build.ids.residual import Coded
from onerec.build.interactions import Float32, Int64

NEIGHBOURS = 10
MAX_SAMPLE = 2_000
MAX_LIKENESSES = 10**9
"""Most pairs that are compared: of more than 500,000 items fewer than MAX_SAMPLE are asked."""
CHUNK_LIKENESSES = 4_000_000
MANY_MOVED = 0.1
"""Share of moved items above which a person is told what would help."""


@dataclass(frozen=True)
class Level:
    """How well one level does."""

    error: float
    """Mean squared length of what is left, as a share of that of the vectors."""
    codes_used: int
    entropy_bits: float
    """Of the distribution of items over codes; log2(K) at most."""
    perplexity: float
    """2 ** entropy: the number of equally used codes that would have this entropy."""
    largest_share: float
    """Share of the items that the most used code has."""
    moved: int
    """Items that did not get the code nearest to them, for want of room."""


@dataclass(frozen=True)
class Quality:
    """Figures of all levels, and of the neighbours of a sample of items."""

    items: int
    levels: tuple[Level, ...]
    collisions_before: int
    """Items that had the id of another, closer item before they were moved; none has afterwards."""
    sample: int
    """Items whose nearest neighbours (cosine, among all items) were looked at."""
    neighbours_sharing_first_code: float
    neighbours_sharing_prefix: float
    """All codes but the last."""
    neighbours_kept: float
    """Share of the nearest neighbours that the vectors which the codes stand for have too."""

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)

    def lines(self, num_codes: int) -> list[str]:
        """What a person is told."""
        told = [
            f"level {number}: {level.codes_used} of {num_codes} codes used, entropy "
            f"{level.entropy_bits:.2f} bits (as {level.perplexity:,.0f} equal codes), "
            f"{level.error:.1%} of the vectors' power left, {level.moved:,} items moved"
            for number, level in enumerate(self.levels, start=1)
        ]
        told.append(
            f"{self.collisions_before:,} colliding items moved to the nearest free code; "
            "no two items share an id"
        )
        if self.collisions_before > MANY_MOVED * self.items:
            told.append(
                f"these are more than {MANY_MOVED:.0%} of all items, which then have ids that say less about "
                'them; raise vocab.vocab_size_per_layer or itemic_layer_n, or take clustering = "balanced"'
            )
        if self.sample:
            told.append(
                f"of the {NEIGHBOURS} nearest neighbours of {self.sample:,} items, "
                f"{self.neighbours_sharing_first_code:.1%} share the first code, "
                f"{self.neighbours_sharing_prefix:.1%} all codes but the last, and "
                f"{self.neighbours_kept:.1%} are kept by the codes"
            )
        return told


def quality(vectors_ND: Float32, coded: Coded, *, rng: np.random.Generator) -> Quality:
    """Figures of ids; of a sample of at most MAX_SAMPLE items where neighbours are concerned."""
    levels = tuple(
        _level(codes_N, error=error, moved=moved)
        for codes_N, error, moved in zip(coded.codes_NL.T, coded.errors, coded.moved, strict=True)
    )
    sample_S = _sample(len(vectors_ND), rng=rng)
    first, prefix, kept = _neighbours(vectors_ND, coded, sample_S)
    return Quality(
        items=len(vectors_ND),
        levels=levels,
        collisions_before=coded.collisions,
        sample=len(sample_S),
        neighbours_sharing_first_code=first,
        neighbours_sharing_prefix=prefix,
        neighbours_kept=kept,
    )


def nearest_neighbours(vectors_ND: Float32, sample_S: Int64, *, count: int) -> Int64:
    """The items most like each of the sample by cosine, itself left out, (S, count)."""
    lengths_N = np.sqrt(np.einsum("nd,nd->n", vectors_ND, vectors_ND))
    inverse_N = torch.from_numpy(1 / np.maximum(lengths_N, np.float32(1e-12)))
    found = np.empty((len(sample_S), count), dtype=np.int64)
    step = max(1, CHUNK_LIKENESSES // len(vectors_ND))
    for start in range(0, len(sample_S), step):
        asked = sample_S[start : start + step]
        likeness = torch.from_numpy(vectors_ND[asked]) @ torch.from_numpy(vectors_ND).T
        likeness *= inverse_N
        likeness[torch.arange(len(asked)), torch.from_numpy(asked)] = -torch.inf
        found[start : start + step] = likeness.topk(count, dim=1).indices.numpy()
    return found


def _sample(items: int, *, rng: np.random.Generator) -> Int64:
    size = min(MAX_SAMPLE, items, max(1, MAX_LIKENESSES // items))
    return np.sort(rng.choice(items, size, replace=False)) if items > 1 else np.zeros(0, dtype=np.int64)


def _neighbours(vectors_ND: Float32, coded: Coded, sample_S: Int64) -> tuple[float, float, float]:
    """Shares of neighbours with the same first code, with the same prefix, and kept."""
    count = min(NEIGHBOURS, len(vectors_ND) - 1)
    if count == 0:
        return 0.0, 0.0, 0.0
    true_SC = nearest_neighbours(vectors_ND, sample_S, count=count)
    rebuilt_SC = nearest_neighbours(coded.rebuilt_ND, sample_S, count=count)
    same_SCL = coded.codes_NL[true_SC] == coded.codes_NL[sample_S, None]
    kept = (true_SC[:, :, None] == rebuilt_SC[:, None]).any(axis=2)
    return float(same_SCL[..., 0].mean()), float(same_SCL[..., :-1].all(axis=2).mean()), float(kept.mean())


def _level(codes_N: Int64, *, error: float, moved: int) -> Level:
    shares = np.unique(codes_N, return_counts=True)[1] / len(codes_N)
    entropy = abs(float(-np.sum(shares * np.log2(shares))))
    return Level(
        error=error,
        codes_used=len(shares),
        entropy_bits=entropy,
        perplexity=2.0**entropy,
        largest_share=float(shares.max()),
        moved=moved,
    )
