"""C19: semantic ids for 100,000 items of 256 dimensions, 3 levels of 256 codes, on two cores.

Ours makes the codebooks and gives every item an id of its own; scikit-learn, which knows no ids, clusters
the same vectors and what is left of them level by level, and its codes collide. Errors are those of the
nearest codes of each codebook, as a share of the vectors' power, so that nobody's moved items count.
The vectors are drawn around 6,000 centres in 300 groups whose sizes fall off like a power law.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.benchmarks.environment import Bench
from tests.benchmarks.harness import Line, Lines, Void, at_most, benchmark, figure, in_turn

ITEMS, WIDTH, LEVELS, CODES = 100_000, 256, 3, 256
GROUPS, CENTRES_OF_A_GROUP = 300, 20
BATCH_SIZE, SEED = 20_000, 1
MINI_BATCH, FULL = "scikit-learn MiniBatchKMeans", "scikit-learn KMeans"
TITLE = "semantic ids of 100k items x 256, 3 x 256 codes"


@benchmark("C19", TITLE)
def semantic_ids(bench: Bench) -> Lines:
    """Time of the whole, and what the codebooks keep of the vectors."""
    vectors = bench.kept("item_vectors", _write_vectors) / "vectors.npy"
    given = {"vectors": vectors, "levels": LEVELS, "codes": CODES, "batch_size": BATCH_SIZE, "seed": SEED}
    runs = in_turn(
        {
            "ours": lambda: bench.ours("semantic_ids", **given),
            MINI_BATCH: lambda: bench.peer("kmeans", **given, kind="MiniBatchKMeans"),
            FULL: lambda: bench.peer("kmeans", **given, kind="KMeans"),
        },
        repeats=bench.times(3),
    )
    if any(run["distinct"] != ITEMS for run in runs["ours"]):
        raise Void(f"{[run['distinct'] for run in runs['ours']]} distinct ids, not {ITEMS}")
    ours = figure("ours", runs["ours"])
    yield Line(f"{TITLE}: time", ours, goal=at_most(60, "s"))
    for name in (MINI_BATCH, FULL):
        yield Line(f"{TITLE}: time", ours, figure(name, runs[name]))
        error = figure("ours", runs["ours"], key="error_percent", unit="%")
        peer = figure(name, runs[name], key="error_percent", unit="%")
        yield Line(f"{TITLE}: power left after 3 levels", error, peer, at_most(1.02))


def _write_vectors(folder: Path) -> None:
    draw = np.random.default_rng(SEED)
    groups = draw.standard_normal((GROUPS, WIDTH), dtype=np.float32)
    centres = 0.7 * draw.standard_normal((GROUPS, CENTRES_OF_A_GROUP, WIDTH), dtype=np.float32)
    weights = draw.pareto(1.5, GROUPS) + 0.2
    group = draw.choice(GROUPS, ITEMS, p=weights / weights.sum())
    own = draw.integers(CENTRES_OF_A_GROUP, size=ITEMS)
    noise = 0.7 * draw.standard_normal((ITEMS, WIDTH), dtype=np.float32)
    np.save(folder / "vectors.npy", (groups[group] + centres[group, own] + noise).astype(np.float32))
